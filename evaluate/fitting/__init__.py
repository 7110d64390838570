"""One resumable training: batches, augmentation, steps, checkpoints."""
