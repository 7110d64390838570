"""Opens folders of a user's images, or ImageNet, which are decoded once and then cached.

`image_listing` describes the folders, `image_cache` the cache of decoded images.
"""

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.chunk_decoding import Progress
from nas_sv2.evaluate.data.image_cache import ImageCache, Prepared, Told
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.data.image_listing import list_images

# Side of CIFAR and ImageNet-32, at which photographs are recognisable and a search takes minutes.
SIDE = 32
NAMED = 5  # most unreadable files that a message names


def open_image_folder(
    spec: str,
    resolution: int | None,
    skip_unreadable: bool,
    told: Told | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Open the images of a folder, which are grey if all files are, else RGB.

    Args:
        spec: `imagefolder:PATH` or `imagenet:PATH`.
        resolution: Side of the images, in pixels; None for `SIDE`.
        skip_unreadable: Whether to leave out unreadable images and list them in the notes.
        told: Function called with a line on size and place before minutes of decoding.
        progress: Function called with the number of decoded files and of all files.

    Raises:
        ConfigError: If the folder is missing, has fewer than two classes or a part or class
            without images, or has unreadable images.
        EvaluationError: If the decoded images cannot be stored.
    """
    listing, side = list_images(spec), resolution or SIDE
    cache = ImageCache.of(listing, side)
    prepared = cache.prepare(listing, side, told, progress)
    if prepared.faults and not skip_unreadable:
        allowed = (
            "must have readable images only (skip_unreadable leaves the others "
            f"out); {faults_in_words(prepared)}"
        )
        raise ConfigError("data", spec, allowed)
    names, counts = prepared.class_names, prepared.counts
    for part, of_classes in counts.items():
        if not any(of_classes):
            raise ConfigError("data", spec, f"must have {part} images; it has none")
    if 0 in counts["train"]:
        empty = names[counts["train"].index(0)]
        raise ConfigError(
            "data", spec, f"must have training images of every class; {empty!r} has none"
        )
    train, val, *test = (cache.part(prepared, name) for name in counts)
    skipped = [f"skipped: {faults_in_words(prepared)}"] if prepared.faults else []
    notes = (*skipped, *notes_of(prepared, listing.val_share))
    held_out = test[0] if test else None
    return ImageData(spec, prepared.key, names, train, val, held_out, notes)


def notes_of(prepared: Prepared, val_share: float | None) -> list[str]:
    """Return notes on the split, the images left out and the counts, one fact per line."""
    notes = []
    if val_share is not None:
        notes.append(f"validation is {val_share:.0%} of the training images, chosen by content")
    if prepared.left_out:
        notes.append(
            f"left out: {prepared.left_out:,} images whose copy (mirrored ones count) is in a "
            "part that networks are compared on"
        )
    sizes = ", ".join(f"{sum(of_each):,} {part}" for part, of_each in prepared.counts.items())
    return [*notes, f"{sizes}, brought to {prepared.side}×{prepared.side}"]


def faults_in_words(prepared: Prepared) -> str:
    """Return one line such as `2 of 40 images cannot be read: 'cat/a.png' (reason), ...`."""
    faults = prepared.faults
    named = ", ".join(f"{name!r} ({reason})" for name, reason in faults[:NAMED])
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return f"{len(faults)} of {prepared.files} images cannot be read: {named}{more}"
