"""Detectors: trained on images with boxes, loaded again; the paper's Table 7 on a target."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_sv2.api.arguments import Notify, Progress, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.documents import Seed, Side, check_value
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.studies.package.folder import check_unfinished
from nas_sv2.studies.paper.detection import DetectionTable, time_table_7
from nas_sv2.studies.paper.published_figures import levels_of

if TYPE_CHECKING:
    from torch import nn

    from nas_sv2.evaluate.fitting.start import Start
    from nas_sv2.space.graph.operators import Graph
    from nas_sv2.space.networks.lowering import Classifier


@dataclass(frozen=True, slots=True)
class DetectorPlan:
    """How a detector is trained.

    Attributes:
        data: `drawn` or `coco:PATH`.
        head: `light-head` or `ssdlite`.
        height: Height of its images in pixels.
        width: Width of its images in pixels.
        recipe: `detector`, `detector-quick` or a file.
        seed: Seed of weights, order and sampling.
        device: `cpu` or `cuda`; `cuda`, if there is a GPU, if left out.
        train_threads: CPU threads.
        weights: Weights that the backbone starts from: a folder of an exported network or of a
            supernet, `FILE.safetensors`, a file of torchvision's weights, `torchvision:NAME` or
            `STUDY:NUMBER`. Those are taken whose name and shape fit; without them, all are fresh.
    """

    data: str
    head: str = "light-head"
    height: int = 800
    width: int = 1200
    recipe: str = "detector"
    seed: int = 0
    device: str | None = None
    train_threads: int = 1
    weights: str | None = None


def train_detector(
    network: str,
    folder: Path,
    plan: DetectorPlan,
    *,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
    progress: Progress = ignore,
) -> dict[str, Any]:
    """Train a detector on a backbone: checkpoint, log, weights, ONNX and mmAP in a folder.

    The same call resumes a training that was killed.

    Args:
        network: A reference name, a file, or `STUDY:NUMBER`: the backbone.
        folder: Folder to write.
        plan: How to train.
        storage: The URL of the database of studies, or the `db` of a study.
        notify: Is called with a line before each step.
        progress: Is called with the steps done and all steps.

    Returns:
        The metrics.

    Raises:
        ConfigError: A value is not allowed, or the folder holds another training.
        EvaluationError: The training failed, or pycocotools is missing.
        StoreError: A file cannot be read or written.
    """
    from nas_sv2.api.training import training_device
    from nas_sv2.evaluate.detection.data import open_scenes
    from nas_sv2.evaluate.detection.detector import Detector
    from nas_sv2.evaluate.detection.score import check_scorer
    from nas_sv2.evaluate.detection.training import DetectorRun, open_detector_recipe
    from nas_sv2.evaluate.fitting.determinism import check_workers
    from nas_sv2.files import making_folder
    from nas_sv2.studies.package.detector_package import write_detector_package
    from nas_sv2.studies.storage.named_networks import find_network

    check_value("seed", plan.seed, Seed)
    check_workers(plan.train_threads, "train_threads")
    db = database_of(storage)
    recipe, named = open_detector_recipe(plan.recipe), find_network(network, db)
    place = training_device(plan.device)
    check_scorer()
    check_unfinished(folder)
    form = Detector(named.network, plan.head, plan.height, plan.width, classes=1)
    trunk = form.trunk  # refuses a size before the data are opened
    start = _start_of(plan.weights, named.network, trunk.graph, db)
    with making_folder(folder) as out:
        data = open_scenes(plan.data, notify)
        for note in data.notes:
            notify(note)
        run = DetectorRun(
            replace(form, classes=len(data.categories)),
            data,
            recipe,
            out,
            plan.seed,
            plan.train_threads,
            place,
            progress,
            notify,
            start,
        )
        notify(run.anchors.describe())
        metrics = write_detector_package(run, run.train(), named.name)
        run.finish()
    return metrics


def _start_of(
    words: str | None, network: "Classifier", graph: "Graph", db: Database
) -> "Start | None":
    """Find the weights to start from, and refuse those of another network before data are read."""
    from nas_sv2.evaluate.fitting.start import Start
    from nas_sv2.studies.package.starting_weights import find_starting_weights

    if words is None:
        return None
    start = Start(find_starting_weights(words, network, db), words)
    start.check(graph)
    return start


def load_detector(folder: str | Path) -> "tuple[nn.Module, tuple[str, ...]]":
    """Load a trained detector: a torch module in evaluation, and the names of its categories.

    The module takes a list of images (3, H, W) with levels from 0 to 1. It gives `boxes`, `labels`
    (category 0 has label 1) and `scores` of each, as torchvision's detectors do.

    Raises:
        ConfigError: The folder holds no detector.
        StoreError: A file is missing or differs from its checksum.
    """
    from nas_sv2.studies.package.detector_package import load_detector

    _, categories, module = load_detector(Path(folder))
    return module, categories


def time_detection_table(
    target: str,
    *,
    level: str = "all",
    height: int = 800,
    width: int = 1200,
    whole: bool = True,
    trained: Sequence[str | Path] = (),
    fresh: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> DetectionTable:
    """Time the paper's Table 7 on a target: backbones of a detector, alone and in the whole.

    Args:
        target: The name of one target.
        level: `40M`, `140M`, `300M`, `500M` or `all`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        whole: Whether to time the whole detectors too.
        trained: Folders of trained detectors, whose mmAP stands in the rows of their networks.
        fresh: Measure although a result is stored.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line before each part.

    Raises:
        ConfigError: A value is not allowed, or the images are too small.
        NasError: The target failed.
    """
    for field, value in (("height", height), ("width", width)):
        check_value(field, value, Side)
    levels, mmaps = levels_of(level), _trained(trained)
    book, db = TargetBook.read(), database_of(storage)
    name = book.one(target)
    opened = book.open(name, store=MeasurementStore(db), fresh=fresh, notify=notify)
    with closing(opened):
        return time_table_7(
            opened,
            levels,
            height,
            width,
            whole=whole,
            trained=mmaps,
            begun=lambda what: notify(f"{name}: {what}"),
        )


def _trained(folders: Sequence[str | Path]) -> Mapping[str, list[tuple[str, float]]]:
    """The measured mmAP of trained detectors, by the digest of their network."""
    if not folders:
        return {}
    from nas_sv2.studies.package.detector_package import trained_metrics

    found: dict[str, list[tuple[str, float]]] = {}
    for folder in folders:
        one = trained_metrics(Path(folder))
        words = f"{one.head} on {one.data.partition('@')[0]} at {one.image_size}, seed {one.seed}"
        found.setdefault(one.digest, []).append((words, one.mmap_percent))
    return found
