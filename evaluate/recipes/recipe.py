"""The recipe of a training, as a value: equal recipe, data and seed give equal accuracy.

The recipes that come with nas-sv2 are in `built_in`, the YAML form in `files`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from nas_sv2.documents import (
    AboveZero,
    FromZero,
    Positive,
    PositiveShare,
    Seed,
    Share,
    Side,
    Whole,
    check_choice,
    check_fields,
)
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.scores import check_score, reads_numbers
from nas_sv2.evaluate.recipes.teacher import TEMPERATURE, Teacher
from nas_sv2.resolution import Resolution, check_image_size, read_resolution

Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["linear", "cosine"]
Precision = Literal["fp32", "bf16", "fp16"]
ClassWeights = Literal["none", "balanced"]
ScoreForm = Literal["fp32", "int8"]
Momentum = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
WITH_NUMBERS: Mapping[str, object] = {
    "label_smoothing": 0,
    "class_weights": "none",
    "classes": None,
    "score_form": "fp32",
}
"""The values that fields must have if labels are numbers."""
ADDED: Mapping[str, object] = {
    "teacher": None,
    "class_weights": "none",
    "score_form": "fp32",
}
"""Fields that recipes had not at first, and the values that leave the digest as it was."""


@dataclass(frozen=True, slots=True)
class FullTraining:
    """The parts of a published training that short trainings of a search refuse.

    Attributes:
        validation_resize: Short side of validation images, from which the centre of the recipe's
            `resolution` is cut out.
        train_resolution: Side of the training crops if it is not `resolution`.
        raw_input: Whether grey levels stay 0 to 255, without normalisation.
        norm_steps: Steps at the end that only reset the statistics of the batch norms.
        trivial_augment: Whether images are augmented by TrivialAugmentWide.
        random_erase: Probability that a rectangle of an image is erased.
        mixup: α of mixup; 0 for none.
        cutmix: α of CutMix; 0 for none.
        repeated_augmentation: Draws of an image within a pass, each augmented on its own.
        ema: Whether an exponential moving average of the weights is kept in their place.
    """

    validation_resize: Positive
    train_resolution: Side | None = None
    raw_input: bool = False
    norm_steps: Whole = 0
    trivial_augment: bool = False
    random_erase: Share = 0.0
    mixup: FromZero = 0.0
    cutmix: FromZero = 0.0
    repeated_augmentation: Positive = 1
    ema: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        check_fields(self)
        check_image_size("validation_resize", self.validation_resize)
        if self.train_resolution is not None:
            check_image_size("train_resolution", self.train_resolution)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of a training.

    Attributes:
        name: Name of the recipe.
        epochs: Passes over the training images.
        train_images: At most so many of the training images are ever used, the same for every
            candidate and every seed; None for all.
        classes: At most so many classes, drawn once; images of others are left out of training and
            validation. None for all.
        subset_seed: Seed of the draws of `train_images` and `classes`.
        images_per_epoch: At most so many images a pass, drawn for each pass; None for all.
        validation_images: At most so many validation images, the same for every candidate.
        validate_each_epoch: Whether every pass ends with a validation, or only the last.
        stem_stride: Stride that the first stem convolution is given, for small images; None for
            the network's own.
        stem_pool: Whether a max pool follows the stem; None for as in the network.
        width_factor: Share of its widths at which a candidate is trained, rounded to what can be
            built; its latency and cost stay those of the whole.
        resolution: Side, or height and width, that images are brought to; None for the data's own.
        batch: Images a step.
        learning_rate: Peak of the learning rate.
        warm_up: Share of the steps in which the rate climbs linearly to the peak; after that it
            falls to 0.
        schedule: How it falls: `linear` or `cosine`.
        optimiser: `sgd` or `adamw`.
        momentum: Momentum of SGD; the first β of AdamW. It is below 1.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: Decay of kernels; biases and batch norms do not decay.
        label_smoothing: Share of the target spread over all classes.
        flip: Whether images are mirrored with probability ½.
        shift: Images move by up to so many pixels each way, the border repeated.
        crop_area: Smallest share of an image that a random crop, resized to the whole, may show
            (sides 3:4 to 4:3); 1 for no crops.
        colour: Brightness, contrast and, in colour images, saturation are each multiplied by
            1 ± up to so much.
        precision: Precision of forward passes in training: `fp32`, `bf16` or, on a GPU, `fp16`.
            The two latter use torch's autocast. Weights, optimiser and validation stay fp32.
        norm_images: Training images that refresh the statistics of the batch norms before a
            validation; 0 keeps the running ones. After 40 steps these lag behind the weights
            (animals, V2 0.5x, rate 0.1: cross-entropy 8.9 with them, 1.3 without). After 400
            steps it makes no difference.
        hopeless_after: Share of the steps after which a training ends if the network is not above
            chance on its training images, but not before 50 steps; 0 for never.
        score: Score that candidates are compared by: `accuracy`; `balanced_accuracy`, the mean of
            the classes' accuracies; `macro_f1`, the mean of the classes' F1; `mean_ap`, the mean
            average precision of images with several labels; `mae`, the mean absolute error of
            images with a number each, lower is better; `cross_entropy` on the validation
            images; `training_speed`, the sum of the training losses, lower is
            better; or the `module:attribute` of a user's own metric.
        seeds: Number of trainings that are averaged, each with a seed of its own.
        full_training: Parts that only a full training has; None for a short training.
        teacher: A trained network whose answers are learnt too; None for the labels alone.
        class_weights: Weights of the classes in the loss: `none`, or `balanced`, in inverse
            proportion to their training images.
        score_form: Form of a trained candidate by which it is compared: `fp32`, as trained, or
            `int8`, as an export quantises it.
    """

    name: str
    epochs: Positive
    train_images: Positive | None = None
    classes: Annotated[int, Meta(ge=2)] | None = None
    subset_seed: Seed = 0
    images_per_epoch: Positive | None = None
    validation_images: Positive | None = None
    validate_each_epoch: bool = False
    width_factor: PositiveShare = 1.0
    stem_stride: int | None = 2
    stem_pool: bool | None = False
    resolution: Resolution | None = None
    batch: Positive = 64
    learning_rate: AboveZero = 0.1
    warm_up: Share = 0.2
    schedule: Schedule = "linear"
    optimiser: Optimiser = "sgd"
    momentum: Momentum = 0.9
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
    score: str = "accuracy"
    seeds: Positive = 1
    full_training: FullTraining | None = None
    teacher: Teacher | None = None
    class_weights: ClassWeights = "none"
    score_form: ScoreForm = "fp32"

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained, naming the field."""
        check_fields(self)
        if self.resolution is not None:
            object.__setattr__(self, "resolution", read_resolution("resolution", self.resolution))
            check_image_size("resolution", self.resolution)
        if not self.name.strip():
            raise ConfigError("name", self.name, "must be one word or two")
        if self.stem_stride is not None:
            check_choice("stem_stride", self.stem_stride, (1, 2))
        check_score(self.score)
        if self.score_form == "int8" and self.score == "training_speed":
            allowed = "must be fp32 with the score training_speed, which no trained form decides"
            raise ConfigError("score_form", self.score_form, allowed)
        self._check_numbers()

    def _check_numbers(self) -> None:
        """Refuse fields that mean nothing for numbers."""
        if not self.numbers:
            return
        why = f"with the score {self.score}, which is of numbers"
        for name, needed in WITH_NUMBERS.items():
            if (value := getattr(self, name)) != needed:
                shown = "left out" if needed is None else needed
                raise ConfigError(name, value, f"must be {shown} {why}")
        if self.teacher is not None and self.teacher.temperature != TEMPERATURE:
            allowed = f"must be left out {why}: a number has none"
            raise ConfigError("teacher.temperature", self.teacher.temperature, allowed)
        for name in ("mixup", "cutmix"):
            if value := getattr(self.full_training, name, 0):
                raise ConfigError(name, value, f"must be 0 {why}")

    @property
    def numbers(self) -> bool:
        """Whether labels are read as numbers, because the score is of nothing else."""
        return reads_numbers(self.score)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name the content, including the name.

        The content of a teacher counts, and not its path. A recipe without the fields of later
        versions keeps the digest that it had before.
        """
        fields = described_fields(self)
        if self.teacher is not None:
            del fields["teacher"]["model"]
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def described_fields(recipe: Recipe) -> dict[str, Any]:
    """Return the fields as plain data, without those of later versions that are not used."""
    fields = dataclasses.asdict(recipe)
    return {name: value for name, value in fields.items() if ADDED.get(name, ...) != value}
