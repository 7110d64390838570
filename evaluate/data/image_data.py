"""Labelled images as whole tensors, the form of every data set for training."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.main_memory import memory_bytes
from nas_sv2.evaluate.recipes.scores import LabelKind
from nas_sv2.resolution import Resolution, height_and_width, resolution_of

STATISTICS_IMAGES = 10_000  # evenly spaced; their mean is exact to 1 % of a standard deviation


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Images and their labels.

    Attributes:
        images: Images, uint8 (N, C, H, W); only indexed, so may be memory-mapped.
        labels: Labels, int64 (N,); of images with several labels each, float32 (N, classes) of 0
            and 1; of images with a number each, float32 (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def counts(self, classes: int) -> list[int]:
        """Return the number of images of each class, with each label, or with a number."""
        kind = kind_of(self.labels)
        if kind == "numbers":
            return [len(self)]
        if kind == "labels":
            return [int(count) for count in self.labels.sum(0)]
        return [int(count) for count in torch.bincount(self.labels, minlength=classes)]


def kind_of(labels: Tensor) -> LabelKind:
    """Return the kind of labels: numbers are floats (N,), several labels are (N, classes)."""
    if labels.dim() == 2:
        return "labels"
    return "numbers" if labels.is_floating_point() else "classes"


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set with its split.

    Attributes:
        name: Spec that opened it.
        key: 16 hexadecimal digits that identify its content and its split.
        class_names: Names of the classes, or of the labels of images with several, in order; of
            images with a number each, the name of the number.
        train: Images for training.
        val: Images for comparing networks.
        test: Images for finalists alone; None if the source has no such part.
        notes: Lines on images that were left out, skipped or split off, with counts.
        fit: How a picture took the shape of the images: one of `decoding.FITS`.
        picture_side: Largest of the shorter sides of the pictures as they came, pixels; None for
            a published set.

    Raises:
        ConfigError: If the tensors do not fit together.
    """

    name: str
    key: str
    class_names: tuple[str, ...]
    train: Part
    val: Part
    test: Part | None = None
    notes: tuple[str, ...] = ()
    fit: str = "crop"
    picture_side: int | None = None

    def __post_init__(self) -> None:
        """Refuse tensors that training could not read."""
        shape = self.train.images.shape[1:]
        for part in self.parts:
            images, labels = part.images, part.labels
            fits = (
                images.dtype == torch.uint8
                and images.dim() == 4
                and images.shape[1:] == shape
                and len(images) == len(labels) > 0
                and kind_of(labels) == self.kind
                and _are_labels(labels, self.classes)
            )
            if not fits:
                allowed = (
                    "must have uint8 (N, C, H, W) images of one shape, int64 (N,) labels, "
                    "float32 (N, classes) labels of 0 and 1 or finite float32 (N,) numbers"
                )
                raise ConfigError("data", f"{self.name} {tuple(images.shape)}", allowed)
        if self.classes < 2 and self.kind != "numbers":
            raise ConfigError("data", self.name, "must be at least two classes")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Train, val and, if there is one, test."""
        return (self.train, self.val) if self.test is None else (self.train, self.val, self.test)

    @property
    def classes(self) -> int:
        """Number of classes, or of labels; 1 for numbers."""
        return len(self.class_names)

    @property
    def kind(self) -> LabelKind:
        """The kind of the labels."""
        return kind_of(self.train.labels)

    def describe_labels(self) -> str:
        """Say what the images are labelled with, as `10 classes` or `a number each (age)`."""
        if self.kind == "numbers":
            return f"a number each ({self.class_names[0]})"
        return f"{self.classes} {self.kind}"

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.train.images.shape[1])

    @property
    def resolution(self) -> Resolution:
        """Side, or height and width, pixels."""
        return resolution_of(*self.train.images.shape[2:])

    @property
    def shorter_side(self) -> int:
        """Shorter side of the images, pixels."""
        return min(height_and_width(self.resolution))

    @property
    def provenance(self) -> str:
        """Text `SPEC@KEY` that evaluations record."""
        return f"{self.name}@{self.key}"


def _are_labels(labels: Tensor, classes: int) -> bool:
    kind = kind_of(labels)
    if kind == "numbers":
        finite = bool(torch.isfinite(labels).all())
        return finite and labels.dtype == torch.float32 and labels.dim() == classes == 1
    if kind == "labels":
        known = bool(((labels == 0) | (labels == 1)).all())
        return known and labels.dtype == torch.float32 and labels.shape[1] == classes
    whole = labels.dtype == torch.int64 and labels.dim() == 1
    return whole and bool((labels >= 0).all()) and bool((labels < classes).all())


def content_key(*parts: Part | None) -> str:
    """Return 16 hexadecimal digits that identify images, labels and their split."""
    content = hashlib.sha256()
    for part in parts:
        if part is None:
            content.update(b"none")
            continue
        content.update(repr(tuple(part.images.shape)).encode())
        content.update(part.images.contiguous().numpy().data)
        content.update(part.labels.contiguous().numpy().data)
    return content.hexdigest()[:16]


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation of each channel, (C,) each, in grey levels 0 to 255."""
    count = min(len(images), STATISTICS_IMAGES)
    chosen = torch.arange(count) * len(images) // count
    channels = images.shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.int64)  # exact, in any order
    for start in range(0, count, AT_ONCE):
        levels = images[chosen[start : start + AT_ONCE]].to(torch.int32)
        total += levels.sum((0, 2, 3))
        squares += levels.square_().sum((0, 2, 3))
    pixels = count * images.shape[2] * images.shape[3]
    mean = total.double() / pixels
    deviation = (squares.double() / pixels - mean.square()).clamp(min=0).sqrt()
    return mean.float(), deviation.clamp(min=1).float()  # a constant channel stays finite


AT_ONCE = 256  # images, so that intermediate numbers stay small: 154 MB at 224 pixels
RESIZED_AT_ONCE = 1024  # images, so that the intermediate floats stay small


def resize(part: Part, resolution: Resolution | None) -> Part:
    """Resize the images, antialiased bilinear; None keeps them as they are.

    Raises:
        ConfigError: The memory does not hold them.
    """
    own = resolution_of(*part.images.shape[2:])
    if resolution in (None, own):
        return part
    height, width = height_and_width(resolution or own)
    whole = len(part) * part.images.shape[1] * height * width
    if whole > (room := memory_bytes()):
        takes = f"{len(part):,} images of that size take {whole / 1e9:,.0f} GB"
        sentence = f"must be smaller: {takes}, and a memory of {room / 1e9:.0f} GB is here"
        raise ConfigError("resolution", resolution, sentence)
    chunks = [
        _resize_chunk(part.images[start : start + RESIZED_AT_ONCE], height, width)
        for start in range(0, len(part), RESIZED_AT_ONCE)
    ]
    return Part(torch.cat(chunks), part.labels)


def _resize_chunk(images: Tensor, height: int, width: int) -> Tensor:
    floats = functional.interpolate(
        images.float(), (height, width), mode="bilinear", antialias=True, align_corners=False
    )
    return floats.round_().clamp_(0, 255).to(torch.uint8)
