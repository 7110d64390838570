"""The answers of a teacher, for one training after another on the same images.

The answers to a batch are kept by its content. Candidates of a search see the same images in the
same order, with the same flips and shifts. So only the first of them waits for the teacher.
Without random augmentation a teacher is asked once about each image. Answers never depend on what
was kept, so a training that is resumed comes to the same bits.
"""

import hashlib
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.evaluate.fitting.label_loss import loss_against_teacher
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.subset import choose_images
from nas_sv2.evaluate.fitting.validation import mean_average_precision
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import IMAGES, LabelKind, kind_in
from nas_sv2.evaluate.recipes.teacher import (
    ENDING,
    FOLDER_FILES,
    Teacher,
    content_digest,
    teacher_module,
)
from nas_sv2.files import read_bounded
from nas_sv2.plain_data import parse_json
from nas_sv2.resolution import Resolution, height_and_width, resolution_of
from nas_sv2.space.networks.lowering import lower, network_in
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights
from nas_sv2.space.runtimes.weights import MOST_WEIGHT_BYTES, parse_weights

MOST_KEPT_BYTES = 256 << 20  # of answers; 6 million images with ten classes
ASKED = 256  # validation images on which a teacher must be better than chance
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])  # torchvision's, in grey levels
RESHUFFLED = 20  # times that answers are dealt to other images, for the mean AP by chance

Answers = Callable[[Tensor], Tensor]
"""Maps images (N, C, H, W), in the form that the teacher takes, to logits (N, classes)."""


@dataclass(frozen=True, eq=False)
class OpenTeacher:
    """A teacher that can be asked.

    Attributes:
        answers: The network.
        normalise: Grey levels to the images that it takes.
        channels: Channels of its images; None for any.
        resolution: Resolution of its images; None for any.
        batch: Images that it takes at once; None for any.
        class_names: Names of its classes; None if they are not known.
        kind: The kind of its labels; None if that is not known.
    """

    answers: Answers
    normalise: Normalise
    channels: int | None = None
    resolution: Resolution | None = None
    batch: int | None = None
    class_names: Sequence[str] | None = None
    kind: LabelKind | None = None

    @torch.no_grad()
    def ask(self, levels: Tensor) -> Tensor:
        """Logits (N, classes), float32, for grey levels (N, C, H, W), 0 to 255."""
        images = levels.float()
        if self.resolution not in (None, resolution_of(*images.shape[2:])):
            size = height_and_width(self.resolution)
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        if self.channels is not None and images.shape[1] != self.channels:
            images = images.mean(1, keepdim=True).repeat(1, self.channels, 1, 1)
        images = self.normalise(images.clone())
        if self.batch is None:
            return self.answers(images).float()
        lacking = -len(images) % self.batch
        filled = torch.cat([images, images[-1:].repeat(lacking, 1, 1, 1)])
        asked = [self.answers(part) for part in torch.split(filled, self.batch)]
        return torch.cat(asked)[: len(images)].float()


@dataclass(eq=False)
class Teaching:
    """A teacher beside trainings on one data set.

    Attributes:
        teacher: Temperature and share.
        opened: The network.
        normalise: Normalisation of the student's images.
        by_image: Whether images come again as they are: no augmentation is random.
        shared: Whether other trainings see the same batches, so that answers are worth keeping.
        figure: How good the teacher is on validation images.
        kind: The kind of the labels.
        kept: Answers by the digest of the images.
    """

    teacher: Teacher
    opened: OpenTeacher
    normalise: Normalise
    by_image: bool
    shared: bool
    figure: Figure
    kind: LabelKind = "classes"
    kept: dict[bytes, Tensor] = field(default_factory=dict)
    _kept_bytes: int = 0

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data: ImageData,
        normalise: Normalise,
        device: str,
        threads: int,
        notify: Callable[[str], None],
        shared: bool = False,
    ) -> "Teaching | None":
        """Open the teacher of a recipe; None if it has none.

        Args:
            recipe: The recipe.
            data: The images of the training.
            normalise: Normalisation of the student's images.
            device: Torch device of the training.
            threads: CPU threads of the training.
            notify: Called with a line on how good the teacher is.
            shared: As the attribute.

        Raises:
            ConfigError: It is missing, changed, of other classes, or no better than chance.
        """
        teacher = recipe.teacher
        if teacher is None:
            return None
        if recipe.classes is not None and recipe.classes < data.classes:
            allowed = "must be left out beside a teacher, which has all classes"
            raise ConfigError("recipe.classes", recipe.classes, allowed)
        opened = open_teacher(teacher, normalise, data, device, threads)
        figure, said = _checked(teacher, opened, data, device)
        notify(said)
        return cls(teacher, opened, normalise, not augments(recipe), shared, figure, data.kind)

    def describe_limit(self, student: Figure) -> str:
        """Say that a student as good as this has outgrown the teacher; empty if it has not."""
        if student.score <= self.figure.score:
            return ""
        ours, theirs = student.describe(), self.figure.describe()
        said = f"the network has {student.name} {ours} on the validation images, its teacher"
        if student.by == "accuracy":
            said = f"the network is right for {ours} of the validation images, its teacher for"
        return f"{said} {theirs}: train it without a teacher, or with a better one, and compare"

    def loss(
        self, hard: Tensor, logits: Tensor, images: Tensor, scale: LabelScale | None = None
    ) -> Tensor:
        """Return the loss of a step.

        Args:
            hard: The loss against the labels.
            logits: Those of the student, (N, classes); of numbers, its answers (N, 1).
            images: The student's images, (N, C, H, W), normalised.
            scale: The scale of numbers; else None.
        """
        share, taught = self.teacher.share, self.ask(images)
        high = self.teacher.temperature
        soft = loss_against_teacher(self.kind, logits, taught, high, scale)
        return (1 - share) * hard + share * soft

    def ask(self, images: Tensor) -> Tensor:
        """The teacher's logits (N, classes) for the student's images (N, C, H, W)."""
        parts = torch.split(images, 1 if self.by_image else len(images))
        return torch.cat([self._ask_once(part) for part in parts])

    def _ask_once(self, images: Tensor) -> Tensor:
        if not self.by_image and not self.shared:
            return self._asked(images)
        held = images.detach().float().cpu().contiguous().numpy()
        key = hashlib.blake2b(held.tobytes(), digest_size=16).digest()
        if key in self.kept:
            return self.kept[key].to(images.device)
        found = self._asked(images)
        size = found.nbytes + len(key)
        if self._kept_bytes + size <= MOST_KEPT_BYTES:
            self.kept[key] = found.cpu()
            self._kept_bytes += size
        return found

    def _asked(self, images: Tensor) -> Tensor:
        mean = self.normalise.mean.to(images.device)[:, None, None]
        deviation = self.normalise.deviation.to(images.device)[:, None, None]
        return self.opened.ask(images.detach() * deviation + mean)


def augments(recipe: Recipe) -> bool:
    """Whether an image of a recipe hardly ever comes again as it was."""
    full = recipe.full_training
    mixed = full is not None and bool(
        full.trivial_augment or full.random_erase or full.mixup or full.cutmix
    )
    return mixed or recipe.flip or bool(recipe.shift or recipe.colour) or recipe.crop_area < 1


def open_teacher(
    teacher: Teacher, student: Normalise, data: ImageData, device: str, threads: int
) -> OpenTeacher:
    """Open a teacher for images of `data`.

    Raises:
        ConfigError: It is missing, changed since the recipe was opened, or cannot be loaded.
    """
    found = content_digest(teacher.model)
    if found != teacher.digest:
        wanted = teacher.digest or "none: open_recipe finds it"
        allowed = f"must have the content that the recipe names, {wanted}; it has {found}"
        if content_digest(teacher.model) != found:
            allowed = "must have the same weights at each call: load them, or set a seed"
        raise ConfigError("teacher", teacher.model, allowed)
    path, taken = Path(teacher.model), _normalise(teacher, student, data.channels)
    if os.path.isdir(path):
        return _of_folder(path, teacher, device)
    if path.suffix.lower() == ENDING:
        return _of_onnx(path, teacher, taken, threads)
    module = teacher_module(teacher.model).to(device).eval()
    return OpenTeacher(module, taken)


def _normalise(teacher: Teacher, student: Normalise, channels: int) -> Normalise:
    """The normalisation that the recipe says for a teacher that does not say it itself."""
    if teacher.input == "data":
        return student
    if teacher.input == "imagenet":
        return Normalise(*map(torch.tensor, IMAGENET))
    scale = 255.0 if teacher.input == "unit" else 1.0
    return Normalise(torch.zeros(channels), torch.full((channels,), scale))


def _of_folder(folder: Path, teacher: Teacher, device: str) -> OpenTeacher:
    """The network of a folder that `export` or `network train` wrote."""
    plain, trained, weights, card = (folder / name for name in FOLDER_FILES)
    described = trained if os.path.exists(trained) else plain
    try:
        facts = parse_json(read_bounded(card, MOST_WEIGHT_BYTES))
        taken, names, kind = facts["input"], facts["class_names"], kind_in(facts)
        normalise = Normalise(torch.tensor(taken["mean"]), torch.tensor(taken["deviation"]))
        arrays = parse_weights(read_bounded(weights, MOST_WEIGHT_BYTES))
    except (OSError, ValueError, LookupError, TypeError) as error:
        allowed = f"must be a folder of an exported network ({error})"
        raise ConfigError("teacher", teacher.model, allowed) from None
    _check_input(teacher)
    network = network_in(described, read_bounded(described, MOST_WEIGHT_BYTES))
    graph = lower(network)
    module = build_module(graph)
    load_weights(module, graph, arrays)
    module = module.to(device).to(memory_format=torch.channels_last).eval()
    size = network.resolution
    return OpenTeacher(module, normalise, network.channels, size, None, names, kind)


def _check_input(teacher: Teacher) -> None:
    if teacher.input != "data":
        allowed = "must be left out: this network says itself which images it takes"
        raise ConfigError("teacher.input", teacher.input, allowed)


def _of_onnx(file: Path, teacher: Teacher, normalise: Normalise, threads: int) -> OpenTeacher:
    """An ONNX file; one of ours says its normalisation and its classes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(
            read_bounded(file, MOST_WEIGHT_BYTES), options, providers=["CPUExecutionProvider"]
        )
        (source,) = session.get_inputs()
        facts = _facts_of(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # onnxruntime raises many kinds, all about the model
        reason = " ".join(str(error).split())[:160]
        allowed = f"must be an ONNX model with one input that onnxruntime loads ({reason})"
        raise ConfigError("teacher", teacher.model, allowed) from None
    shape = [size if isinstance(size, int) else None for size in source.shape]
    if len(shape) != 4 or (shape[2] is None) != (shape[3] is None):
        raise ConfigError("teacher", teacher.model, f"must take N×C×H×W; it takes {source.shape}")
    names = kind = None
    if facts is not None:
        _check_input(teacher)
        normalise, names, kind = facts

    def answers(images: Tensor) -> Tensor:
        fed = {source.name: images.cpu().contiguous().numpy()}
        return torch.from_numpy(session.run(None, fed)[0]).to(images.device)

    batch, channels, height, width = shape
    size = None if height is None or width is None else resolution_of(height, width)
    return OpenTeacher(answers, normalise, channels, size, batch, names, kind)


def _facts_of(metadata: Mapping[str, str]) -> tuple[Normalise, Any, LabelKind] | None:
    """Normalisation, class names and kind of labels of an ONNX file of ours; None of another's."""
    if "nas_sv2" not in metadata:
        return None
    mean, deviation = (torch.tensor(parse_json(metadata[of])) for of in ("mean", "deviation"))
    names: Any = metadata.get("class_names")
    names = None if names is None else parse_json(names)
    return Normalise(mean, deviation), names, kind_in(metadata)


def _checked(
    teacher: Teacher, opened: OpenTeacher, data: ImageData, device: str
) -> tuple[Figure, str]:
    """Refuse a teacher of other classes or one that knows nothing; give its figure, and say it.

    A wrong normalisation or another order of the classes shows here.
    """
    part = choose_images(data.val, ASKED)
    try:
        logits = opened.ask(part.images.to(device)).cpu()
    except Exception as error:  # a module of the user's, which may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        allowed = f"must answer to images {tuple(data.val.images.shape[1:])} ({reason})"
        raise ConfigError("teacher", teacher.model, allowed) from None
    _check_classes(teacher, opened, logits, data)
    figure, chance, apart = _BESIDE_CHANCE[data.kind](logits.float(), part.labels)
    shown, among = figure.describe(), f"{len(part)} validation images"
    said = f"{figure.name} {shown} on {among}, {chance.describe()} by chance"
    if data.kind == "classes":
        said = f"{shown} of {among} right, {chance.describe()} by chance"
    if data.kind == "numbers":
        said = f"MAE {shown} on {among}, {chance.describe()} by always answering their median"
    if not figure.score > chance.score + apart:
        allowed = f"must be better than chance: {said}; does teacher.input say what it takes?"
        raise ConfigError("teacher", teacher.model, allowed)
    return figure, f"teacher {teacher.model} ({teacher.digest}): {said}"


BesideChance = tuple[Figure, Figure, float]
"""How good a teacher is, how good one is that knows nothing, and the latter's standard error."""


def _of_classes(logits: Tensor, labels: Tensor) -> BesideChance:
    """Compare with always naming the commonest class."""
    right = int((logits.argmax(1) == labels).sum()) / len(labels)
    chance = int(torch.bincount(labels).max()) / len(labels)
    error = math.sqrt(chance * (1 - chance) / len(labels))
    return Figure("accuracy", right), Figure("accuracy", chance), error


def _of_several(logits: Tensor, labels: Tensor) -> BesideChance:
    """Compare with the same answers, each given to another image."""
    wanted, generator = labels.numpy(), torch.Generator().manual_seed(0)
    dealt = (torch.randperm(len(labels), generator=generator) for _ in range(RESHUFFLED))
    found = [mean_average_precision(logits[order].numpy(), wanted) for order in dealt]
    figure = Figure("mean_ap", mean_average_precision(logits.numpy(), wanted))
    return figure, Figure("mean_ap", statistics.fmean(found)), statistics.stdev(found)


def _of_numbers(answers: Tensor, labels: Tensor) -> BesideChance:
    """Compare with always answering the median; the error is that of the difference."""
    ours = (answers[:, 0] - labels).double().abs()
    theirs = (labels - labels.median()).double().abs()
    error = float((theirs - ours).std()) / math.sqrt(len(labels))
    return Figure("mae", float(ours.mean())), Figure("mae", float(theirs.mean())), error


_BESIDE_CHANCE: Mapping[LabelKind, Callable[[Tensor, Tensor], BesideChance]] = {
    "classes": _of_classes,
    "labels": _of_several,
    "numbers": _of_numbers,
}


def _check_classes(teacher: Teacher, opened: OpenTeacher, logits: Tensor, data: ImageData) -> None:
    if opened.kind not in (None, data.kind):
        allowed = f"must be of {IMAGES[data.kind]}, as the data; it is of {IMAGES[opened.kind]}"
        raise ConfigError("teacher", teacher.model, allowed)
    there, named = logits.shape[1] if logits.dim() == 2 else 0, _NAMED[data.kind]
    if there != data.classes:
        allowed = f"must have the {data.classes} {named} of the data; it gives"
        if data.kind == "numbers":
            allowed = "must give one number an image, (N, 1); it gives"
        raise ConfigError("teacher", teacher.model, f"{allowed} {there or 'no logits'}")
    names = opened.class_names
    if names is None:
        return
    if not isinstance(names, list) or len(names) != data.classes:
        allowed = f"must name its {data.classes} {named} in a list; it names {names!r:.80}"
        raise ConfigError("teacher", teacher.model, allowed)
    if names != list(data.class_names):
        pairs = zip(data.class_names, names, strict=True)
        ours, theirs = next(pair for pair in pairs if pair[0] != pair[1])
        allowed = f"must have the {named} of the data in their order: {ours!r}, not {theirs!r}"
        raise ConfigError("teacher", teacher.model, allowed)


_NAMED: Mapping[LabelKind, str] = {"classes": "classes", "labels": "labels", "numbers": "number"}
