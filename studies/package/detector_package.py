"""Writes a trained detector as a folder, and loads it again.

The ONNX file is compared with torch on validation images before the folder is complete.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from torch import nn

from nas_sv2.documents import name_errors, parse_document, read_fields, strip_schema, to_yaml
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.detection.detector import Detector, build_detector
from nas_sv2.evaluate.detection.onnx_detector import IMAGES, export_detector
from nas_sv2.evaluate.detection.scenes import Scenes
from nas_sv2.evaluate.detection.training import DetectorRun, TrainedDetector
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import classifier_from_document, network_to_document
from nas_sv2.space.runtimes.torch_lowering import weights_of
from nas_sv2.space.runtimes.weights import Weights, parse_weights
from nas_sv2.studies.package.folder import SUMS, read_folder, write_folder
from nas_sv2.studies.package.load import check_depth

DETECTOR, WEIGHTS, MODEL, METRICS = (
    *("detector.yaml", "weights.safetensors", "detector.onnx", "metrics.json"),
)
SCHEMA_KEY, SCHEMA_VERSION = "nas_sv2_detector", 1
FACTS = ("digest", "head", "data", "image_size", "seed", "mmap_percent")
COMPARED = 50  # images on which the ONNX file is compared with torch
SAME_SCORE, SAME_BOX = 1e-3, 0.05
"""Differences that rounding explains: of a score, and of a box in pixels."""
LEAST_EQUAL = 0.9
"""Share of images on which both find the same boxes.

Rounding decides a suppression whose overlap is at its limit, and then an image has another box."""


@dataclass(frozen=True, slots=True)
class _Document:
    network: Mapping[str, Any]
    head: str
    height: int
    width: int
    categories: tuple[str, ...]


def write_detector_package(
    run: DetectorRun, trained: TrainedDetector, name: str
) -> dict[str, Any]:
    """Write the result of a training into its folder, `SHA256SUMS` last.

    Args:
        run: The training.
        trained: Its result.
        name: The user's name of the network.

    Returns:
        The content of `metrics.json`.

    Raises:
        StoreError: The ONNX file disagrees with torch on too many images, or a file cannot be
            written.
    """
    detector, data = run.detector, run.data
    facts = {"categories": json.dumps(data.categories), "data": data.provenance}
    model = export_detector(detector, trained.module, facts)
    compared = min(COMPARED, len(data.val))
    equal = equal_images(detector, trained.module, model, data.val, compared)
    if equal < LEAST_EQUAL * compared:
        found = f"on {equal} of {compared} images alone"
        raise StoreError(f"the ONNX file finds the boxes of torch {found}")
    metrics = {
        "network": name,
        "digest": detector.network.digest,
        "head": detector.head,
        "image_size": f"{detector.height}x{detector.width}",
        "flops": detector.flops,
        "backbone_flops": detector.flops - detector.head_flops,
        **dataclasses.asdict(trained.score),
        "data": data.provenance,
        "recipe": run.recipe.name,
        "recipe_digest": run.recipe.digest,
        "seed": run.seed,
        **({} if run.start is None else {"start": run.start.describe(detector.trunk.graph)}),
        "anchors": dataclasses.asdict(trained.anchors),
        "passes": run.recipe.epochs,
        "seconds": round(trained.seconds, 1),
        "place": trained.place,
        "onnx_equals_torch_on": equal,
        "onnx_compared_on": compared,
    }
    contents = {
        DETECTOR: to_yaml(_to_document(detector, data.categories)).encode(),
        WEIGHTS: safetensors.numpy.save(weights_of(trained.module)),
        MODEL: model,
        METRICS: (json.dumps(metrics, indent=2) + "\n").encode(),
    }
    write_folder(run.out, contents)
    return metrics


def load_detector(folder: Path) -> tuple[Detector, tuple[str, ...], nn.Module]:
    """Load a trained detector: its description, its categories, and the module in evaluation.

    Raises:
        ConfigError: The folder holds no detector.
        StoreError: A file is missing or differs from its checksum.
    """
    files = read_folder(folder)
    for name in (DETECTOR, WEIGHTS):
        if name not in files:
            raise ConfigError(f"{SUMS} of {folder}", sorted(files), f"must list {name}")
    path = folder / DETECTOR
    detector, categories = name_errors(f"{path}: ", _read, parse_document(path, files[DETECTOR]))
    try:
        weights = parse_weights(files[WEIGHTS])
    except ValueError as error:
        allowed = f"must be readable weights ({error})"
        raise ConfigError("file", str(folder / WEIGHTS), allowed) from None
    _check_size(detector, weights)
    module = build_detector(detector)
    load_weights(module, weights)
    return detector, categories, module.eval()


def load_weights(module: nn.Module, weights: Weights) -> None:
    """Load the weights of a detector into its module.

    Raises:
        ConfigError: They are not exactly its weights.
    """
    state = module.state_dict()
    ours = {name for name in state if not name.endswith("num_batches_tracked")}
    for name in sorted(ours ^ weights.keys()):
        raise ConfigError("weights", name, "must be exactly the weights of this detector")
    for name, array in weights.items():
        if array.shape != tuple(state[name].shape):
            allowed = f"must have shape {tuple(state[name].shape)}"
            raise ConfigError(f"weights {name}", array.shape, allowed)
        state[name] = torch.from_numpy(array)
    module.load_state_dict(state)


def _check_size(detector: Detector, weights: Weights) -> None:
    """Refuse a backbone that is larger than the weights, before it is built.

    Raises:
        ConfigError: It is larger.
    """
    check_depth(detector.network, weights)
    params = cost_of(detector.trunk.graph).params
    held = sum(array.size for array in weights.values())
    if params > held:
        raise ConfigError("weights", held, f"must be those of a backbone of {params:,} params")


@dataclass(frozen=True, slots=True)
class DetectorMetrics:
    """The facts of a trained detector that tables show.

    Attributes:
        digest: Digest of the network.
        head: The head.
        data: The data, with their content.
        image_size: Height and width of the images.
        seed: Seed of the training.
        mmap_percent: COCO's mean average precision, in %.
    """

    digest: str
    head: str
    data: str
    image_size: str
    seed: int
    mmap_percent: float


def trained_metrics(folder: Path) -> DetectorMetrics:
    """Read `metrics.json` of a trained detector.

    Raises:
        ConfigError: The folder holds no detector.
        StoreError: A file is missing or differs from its checksum.
    """
    files = read_folder(folder)
    if METRICS not in files or DETECTOR not in files:
        allowed = "must be the folder of a trained detector"
        raise ConfigError("trained", str(folder), allowed)
    path = folder / METRICS
    found = parse_document(path, files[METRICS])
    if not isinstance(found, Mapping):
        raise ConfigError("file", str(path), "must be a mapping")
    kept = {name: value for name, value in found.items() if name in FACTS}
    return name_errors(f"{path}: ", lambda data: read_fields(DetectorMetrics, data), kept)


def _to_document(detector: Detector, categories: Sequence[str]) -> dict[str, Any]:
    return {
        SCHEMA_KEY: SCHEMA_VERSION,
        "network": network_to_document(detector.network),
        "head": detector.head,
        "height": detector.height,
        "width": detector.width,
        "categories": list(categories),
    }


def _read(document: object) -> tuple[Detector, tuple[str, ...]]:
    read = read_fields(_Document, strip_schema(document, SCHEMA_KEY, SCHEMA_VERSION))
    network = name_errors("network.", classifier_from_document, read.network)
    count = len(read.categories)
    return Detector(network, read.head, read.height, read.width, count), read.categories


def equal_images(
    detector: Detector, module: nn.Module, model: bytes, part: Scenes, count: int
) -> int:
    """Count those of the first `count` images of `part` on which a model finds torch's boxes.

    Boxes of one score may change places, and the last of a full list may be cut off by a tie.
    """
    import onnxruntime

    equal = 0
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for index in range(count):
        pixels, _ = part.fitted(index, detector.height, detector.width)
        boxes, scores, classes = session.run(None, {IMAGES: pixels[None].astype(np.float32)})
        with torch.no_grad():
            (found,) = module([torch.from_numpy(pixels) / 255])
        ours = np.column_stack([scores, boxes, classes])
        theirs = np.column_stack([found["scores"], found["boxes"], found["labels"] - 1])
        equal += not (unmatched(ours, theirs) or unmatched(theirs, ours))
    return equal


def unmatched(one: np.ndarray, other: np.ndarray) -> int:
    """Count rows of score, box and class that `other` lacks, those tied with its last apart."""
    if not len(one):
        return 0
    if not len(other):
        return len(one)
    apart = np.abs(one[:, None] - other[None])
    same = (apart[..., 0] < SAME_SCORE) & (apart[..., 1:5].max(-1) < SAME_BOX)
    same &= apart[..., 5] == 0
    tied = one[:, 0] < other[:, 0].min() + SAME_SCORE
    return int((~same.any(1) & ~tied).sum())
