"""Checks of the forms of one network: equal logits and accuracy, and equal ONNX models.

Two ONNX models are compared by their operators and the inputs of each. For int8, quantising and
dequantising are skipped. Activations are skipped as well, because int8 folds most of them into the
range of the operator before them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.evaluate.fitting.validation import mean_average_precision
from nas_sv2.evaluate.recipes.scores import LabelKind
from nas_sv2.resolution import Resolution, height_and_width
from nas_sv2.space.runtimes.weights import Array

Form = Callable[[Array], Array]
"""Function from normalised images (N, C, H, W) to logits (N, classes)."""

Labels = NDArray[Any]
"""Classes, int64 (N,); several labels, float32 (N, classes) of 0 and 1; numbers, float32 (N,)."""
Origin = tuple[object, ...]
"""Origin of a tensor: an input, a stored tensor, or an output of an operator."""

EQUAL = 1e-3
"""Largest accepted difference of logits, as a share of the largest logit. float32 sums in another
order differ by about 1e-6 of it, a wrong weight by about the whole. Of answers that are one
number, it is a share of their range, as a year is never near 0; see `LEAST_RANGE`."""
LEAST_RANGE = 0.01
"""Least range of the answers that are one number, as a share of the largest: a network that always
answers the same has no range to compare with."""
LOST = 1.0
"""Error of int8 logits from which the form is refused: the root mean square of the error, as a
share of that of the network's logits about the mean of each image, or of one number about the
mean of all images."""
BETWEEN = ("QuantizeLinear", "DequantizeLinear")
FOLDED = ("Relu", "Clip")
NOISE_IMAGES = 16
BATCH = 50  # images; at 224 pixels they take 30 MB, and their largest maps 500 MB


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of a form with the network as torch runs it in nas-sv2.

    Attributes:
        images: Number of images that both classified.
        difference: Largest absolute difference of their logits.
        relative: Largest difference as a share of the network's largest absolute logit, or of the
            range of answers that are one number.
        error: Root mean square of the differences, as a share of that of the network's logits
            about the mean of each image; of several labels an image, or a number, about that of
            each label.
        same: Share of images with the same first class; None if images have no single class.
        accuracy: Top-1 accuracy of the form, 0 to 1; None without labels.
        by_class: Images of each class, and how many of them were named so; None without labels.
        mean_ap: Mean average precision of images with several labels, 0 to 1; else None.
        mae: Mean absolute error of images with a number each, in its unit; else None.
        same_labels: Share of the answers to single labels that are on the same side of a
            probability of ½; None if images have one class or a number.
    """

    images: int
    difference: float
    relative: float
    error: float
    same: float | None
    accuracy: float | None
    by_class: tuple[tuple[int, int], ...] | None = None
    mean_ap: float | None = None
    mae: float | None = None
    same_labels: float | None = None

    @property
    def figure(self) -> Figure | None:
        """Top-1, the mean AP of several labels or the MAE of numbers; None without labels."""
        return Figure.find(self.to_json())

    def differs(self) -> str:
        """Say by how much the answers differ, as a card and the terminal do."""
        what, whole = ("answers", "their range") if self.is_number else ("logits", "the largest")
        return f"{what} differ by {self.relative:.1e} of {whole}"

    @property
    def is_number(self) -> bool:
        """Whether the answer is one number."""
        return self.same is None and self.same_labels is None

    def alike(self) -> str:
        """Say after a comma how many answers are alike; empty if they are numbers."""
        if self.same is not None:
            return f", the same class first for {self.same:.2%}"
        if self.same_labels is not None:
            return f", {self.same_labels:.2%} of the labels alike, yes from a probability of ½"
        return ""

    def check(self, name: str, quantised: bool) -> None:
        """Refuse a form that disagrees with the network.

        Raises:
            StoreError: If the form disagrees; the message names it and the error.
        """
        if quantised and not self.error < LOST:
            raise StoreError(
                f"{name} and torch disagree: the error of the int8 logits is {self.error:.0%} of "
                f"their spread{self.alike()}; export it without int8"
            )
        if not quantised and not self.relative <= EQUAL:
            raise StoreError(f"{name} and torch disagree: {self.differs()}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name, except `by_class`, which a card has once."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "by_class"}


def agreements(
    network: Form,
    forms: Mapping[str, Form],
    batches: Iterator[tuple[Array, Labels | None]],
    kind: LabelKind = "classes",
) -> dict[str, Agreement]:
    """Compare each form with `network` on the same images, one batch at a time.

    Args:
        network: Form that the others are compared with.
        forms: Forms by name.
        batches: Normalised images, with labels if the accuracy is wanted.
        kind: The kind of the labels.
    """
    counts = {name: _Count(kind) for name in forms}
    for images, labels in batches:
        expected = network(images)
        for name, form in forms.items():
            counts[name].add(expected, form(images), labels)
    return {name: count.agreement() for name, count in counts.items()}


def noise(channels: int, resolution: Resolution) -> Iterator[tuple[Array, None]]:
    """Yield a batch (N, C, H, W) of mean 0 and deviation 1, equal on all machines."""
    shape = (NOISE_IMAGES, channels, *height_and_width(resolution))
    yield np.random.default_rng(0).standard_normal(shape, np.float32), None


@dataclass(slots=True)
class _Count:
    """The running sums of one form."""

    kind: LabelKind
    images: int = 0
    largest: float = 0.0
    ends: tuple[float, float] = (np.inf, -np.inf)
    errors: float = 0.0
    numbered: int = 0
    difference: float = 0.0
    squared_error: float = 0.0
    squared_signal: float = 0.0
    same: int = 0
    answers: int = 0
    by_class: NDArray[np.int64] | None = None
    several: list[tuple[Array, Labels]] = field(default_factory=list)

    def add(self, expected: Array, logits: Array, labels: Labels | None) -> None:
        apart = np.abs(logits.astype(np.float64) - expected)
        self.images += len(expected)
        # `maximum` and not `max`, so that NaN is passed on.
        self.difference = float(np.maximum(self.difference, apart.max()))
        self.largest = max(self.largest, float(abs(expected).max()))
        self.squared_error += float((apart**2).sum())
        low, high = self.ends
        self.ends = min(low, float(expected.min())), max(high, float(expected.max()))
        # On noise, which has no labels, each label may have next to no spread of its own.
        each = 0 if self.kind == "numbers" or (labels is not None and labels.ndim == 2) else 1
        about_mean = expected.astype(np.float64) - expected.mean(each, keepdims=True)
        self.squared_signal += float((about_mean**2).sum())
        if self.kind == "numbers":
            self._add_numbers(logits, labels)
            return
        if self.kind == "labels":
            self._add_several(expected, logits, labels)
            return
        named = logits.argmax(1)
        self.same += int((named == expected.argmax(1)).sum())
        self.answers += len(expected)
        if labels is not None:
            parts = (labels, labels[named == labels])
            counts = np.stack([np.bincount(part, minlength=logits.shape[1]) for part in parts])
            self.by_class = counts if self.by_class is None else self.by_class + counts

    def _add_several(self, expected: Array, logits: Array, labels: Labels | None) -> None:
        self.same += int(((logits > 0) == (expected > 0)).sum())
        self.answers += expected.size
        if labels is not None:
            self.several.append((logits, labels))

    def _add_numbers(self, answers: Array, labels: Labels | None) -> None:
        if labels is not None:
            self.errors += float(np.abs(answers[:, 0].astype(np.float64) - labels).sum())
            self.numbered += len(labels)

    def agreement(self) -> Agreement:
        counts, whole = self.by_class, self.largest
        if self.kind == "numbers":
            whole = max(self.ends[1] - self.ends[0], LEAST_RANGE * self.largest)
        return Agreement(
            images=self.images,
            difference=self.difference,
            relative=_share(self.difference, whole),
            error=_share(self.squared_error, self.squared_signal) ** 0.5,
            same=self.same / self.answers if self.kind == "classes" else None,
            accuracy=None if counts is None else int(counts[1].sum()) / self.images,
            by_class=None if counts is None else tuple((int(n), int(k)) for n, k in counts.T),
            mean_ap=self.mean_ap(),
            mae=self.errors / self.numbered if self.numbered else None,
            same_labels=self.same / self.answers if self.kind == "labels" else None,
        )

    def mean_ap(self) -> float | None:
        if not self.several:
            return None
        logits, labels = (np.concatenate(each) for each in zip(*self.several, strict=True))
        return mean_average_precision(logits, labels)


def _share(part: float, whole: float) -> float:
    """Return `part / whole`; if `whole` is 0, return infinity, or 0 if `part` is 0 too."""
    if whole == 0:
        return 0.0 if part == 0 else float("inf")
    return part / whole


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a model.

    Attributes:
        name: Name of the node.
        kind: Operator type with its domain.
        attributes: Serialised attributes, sorted.
        inputs: Origins of the inputs.
    """

    name: str
    kind: str
    attributes: tuple[bytes, ...]
    inputs: tuple[Origin, ...]


def difference(ours: bytes, theirs: bytes, int8: bool = False) -> str:
    """Name the first difference of two models other than weights; empty if there is none.

    Args:
        ours: Model in float32.
        theirs: Another model, of any content that ONNX can parse.
        int8: Whether `theirs` is in int8.
    """
    import onnx

    one, other = (onnx.load_model_from_string(model) for model in (ours, theirs))
    if _opsets(one) != _opsets(other):
        return f"operator sets {_opsets(other)}, not {_opsets(one)}"
    if len(other.functions):
        return "functions of its own"
    if _ends(one) != _ends(other):
        return f"inputs and outputs {_ends(other)}, not {_ends(one)}"
    # Their order is ignored, as int8 changes it; the inputs of each operator are compared.
    wanted, found = (Counter(_operators(each.graph, int8)) for each in (one, other))
    for operator in found - wanted:
        return f"operator {operator.name!r} ({operator.kind})"
    for operator in wanted - found:
        return f"operator {operator.name!r} ({operator.kind}) is missing"
    return ""


def _opsets(model: Any) -> list[tuple[str, int]]:
    return sorted((each.domain, each.version) for each in model.opset_import)


def _ends(model: Any) -> list[tuple[str, int, tuple[object, ...]]]:
    """Return names, element types and shapes of inputs and outputs."""
    found = []
    for value in (*model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        shape = tuple(each.dim_param or each.dim_value for each in tensor.shape.dim)
        found.append((value.name, tensor.elem_type, shape))
    return found


def _operators(graph: Any, int8: bool) -> Iterator[Operator]:
    skipped = (*BETWEEN, *FOLDED) if int8 else ()
    origins: dict[str, Origin] = {value.name: ("input", value.name) for value in graph.input}
    for tensor in graph.initializer:
        origins[tensor.name] = _held(tensor)
    for node in graph.node:
        inputs = tuple(origins.get(name, ("nothing", name)) for name in node.input)
        if node.op_type in skipped and inputs:
            origins.update((name, inputs[0]) for name in node.output)
            continue
        for index, name in enumerate(node.output):
            origins[name] = ("output", node.name, index)
        attributes = tuple(sorted(each.SerializeToString() for each in node.attribute))
        yield Operator(node.name, f"{node.domain}{node.op_type}", attributes, inputs)
    yield Operator("", "outputs", (), tuple(origins.get(each.name, ()) for each in graph.output))


def _held(tensor: Any) -> Origin:
    """Return name and shape, and the content too if it is channels or sizes, not weights."""
    import onnx

    name = tensor.name.removesuffix("_quantized")
    if tensor.data_type == onnx.TensorProto.INT64:
        return ("held", name, tuple(tensor.dims), tensor.SerializeToString())
    return ("held", name, tuple(tensor.dims))


def check_self_contained(name: str, model: bytes) -> None:
    """Refuse a model with tensors in other files, whose paths may lead anywhere.

    Args:
        name: Name of the file, for the error.
        model: Content of the file.

    Raises:
        ConfigError: If the file is not an ONNX model or a tensor is in another file.
    """
    import onnx

    try:
        read = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own kinds
        raise ConfigError("file", name, f"must be an ONNX model ({error})") from None
    graphs = [read.graph, *read.functions, *(info.algorithm for info in read.training_info)]
    for graph in graphs:
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                where = {entry.key: entry.value for entry in tensor.external_data}
                allowed = "must be a model that holds all its tensors, none in another file"
                raise ConfigError(f"{name}: {tensor.name}", where.get("location"), allowed)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield every tensor of a graph or function, including inner graphs."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in [attribute.sparse_tensor, *attribute.sparse_tensors]:
                yield from (sparse.values, sparse.indices)
            for inner in [attribute.g, *attribute.graphs]:
                yield from _tensors(inner)
