"""How a candidate is trained, as a value: the same recipe, data and seed give the same accuracy.

The recipes that come with nas-sv2 are in `built_in_recipes`, the YAML form in `recipe_files`.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from nas_sv2.documents import (
    AboveZero,
    FromZero,
    Positive,
    PositiveShare,
    Share,
    Whole,
    check_choice,
    check_fields,
    name_errors,
)
from nas_sv2.errors import ConfigError

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["linear", "cosine"]
Precision = Literal["fp32", "bf16", "fp16"]
Score = Literal["accuracy", "cross_entropy", "training_speed"]


@dataclass(frozen=True, slots=True)
class FullTraining:
    """What a published training does beyond the short trainings of a search, which refuse it.

    Attributes:
        validation_resize: Short side that a validation image is brought to before its centre, of
            the recipe's `resolution`, is cut out.
        train_resolution: Side of the training crops where it is not `resolution`.
        raw_input: Grey levels 0 to 255 as they are, with neither mean nor deviation.
        norm_steps: Steps at the end that only reset the statistics of the batch norms.
        trivial_augment: TrivialAugmentWide.
        random_erase: Probability that a rectangle of an image is erased.
        mixup: α of mixup; 0 for none.
        cutmix: α of CutMix; 0 for none.
        repeated_augmentation: How often an image is drawn within a pass, augmented anew.
        ema: Whether an exponential moving average of the weights is what is kept.
    """

    validation_resize: Positive
    train_resolution: Positive | None = None
    raw_input: bool = False
    norm_steps: Whole = 0
    trivial_augment: bool = False
    random_erase: Share = 0.0
    mixup: FromZero = 0.0
    cutmix: FromZero = 0.0
    repeated_augmentation: Positive = 1
    ema: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, naming the field."""
        name_errors("recipe ", check_fields, self)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training does with an architecture and data.

    Attributes:
        name: What people call it.
        epochs: Passes over the training images.
        train_images: At most so many of the training images are ever used, the same for every
            candidate and every seed; None for all.
        classes: At most so many classes, drawn once; images of others are left out of training and
            validation. None for all.
        subset_seed: Of the draws of `train_images` and `classes`.
        images_per_epoch: At most so many images a pass, drawn anew each time; None for all.
        validation_images: At most so many validation images, the same for every candidate.
        validate_each_epoch: Whether every pass ends with a validation, or only the last.
        stem_stride: Stride that the first stem convolution is given, for small images.
        stem_pool: Whether the max pool stays behind the stem.
        width_factor: Share of its widths at which a candidate is trained, rounded to what can be
            built; its latency and cost stay those of the whole.
        resolution: Side that images are brought to; None for the data's own.
        batch: Images a step.
        learning_rate: The peak.
        warm_up: Share of the steps in which the rate climbs linearly to the peak; after that it
            falls to 0.
        schedule: How it falls: `linear` or `cosine`.
        optimiser: `sgd` or `adamw`.
        momentum: Of SGD; the first β of AdamW.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: On kernels only, not on biases and batch norms.
        label_smoothing: Share of the target spread over all classes.
        flip: Whether images are mirrored with probability ½.
        shift: Images move by up to so many pixels each way, the border repeated.
        crop_area: Smallest share of an image that a random crop, resized to the whole, may show
            (sides 3:4 to 4:3); 1 for no crops.
        colour: Brightness, contrast and, where there is colour, saturation are each multiplied by
            1 ± up to so much.
        precision: Of the forward passes in training: `fp32`, `bf16` or, on a GPU, `fp16`, the two
            latter by torch's autocast. Weights, optimiser and validation stay fp32.
        norm_images: Training images over which the statistics of the batch norms are taken anew
            before a validation; 0 keeps the running ones. After 40 steps these lag behind the
            weights (animals, V2 0.5x, rate 0.1: cross-entropy 8.9 with them, 1.3 without); after
            400 it makes no difference.
        hopeless_after: Share of the steps after which a network that is still no better than
            chance on the images it trains on is given up, though not before 50 steps; 0 for never.
        score: What candidates are compared by: `accuracy`; `cross_entropy` on the validation
            images; `training_speed`, the sum of the training losses, lower is better.
        seeds: How many trainings, each with a seed of its own, are averaged.
        full_training: What only a full training does.
    """

    name: str
    epochs: Positive
    train_images: Positive | None = None
    classes: Annotated[int, Meta(ge=2)] | None = None
    subset_seed: Whole = 0
    images_per_epoch: Positive | None = None
    validation_images: Positive | None = None
    validate_each_epoch: bool = False
    width_factor: PositiveShare = 1.0
    stem_stride: int = 2
    stem_pool: bool = False
    resolution: Positive | None = None
    batch: Positive = 64
    learning_rate: AboveZero = 0.1
    warm_up: Share = 0.2
    schedule: Schedule = "linear"
    optimiser: Optimiser = "sgd"
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: FromZero = 5e-4
    label_smoothing: Share = 0.1
    flip: bool = True
    shift: Whole = 2
    crop_area: PositiveShare = 1.0
    colour: Share = 0.0
    precision: Precision = "fp32"
    norm_images: Whole = 512
    hopeless_after: Share = 0.5
    score: Score = "accuracy"
    seeds: Positive = 1
    full_training: FullTraining | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, naming the field."""
        name_errors("recipe ", check_fields, self)
        if not self.name.strip():
            raise ConfigError("recipe name", self.name, "must be one word or two")
        check_choice("recipe stem_stride", self.stem_stride, (1, 2))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content, the name included."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
