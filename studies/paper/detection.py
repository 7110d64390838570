"""The paper's Table 7 on a target: backbones of a detector, alone and within the whole.

The published mmAP is that of COCO, and the published speed that of the whole detector on a
GTX 1080Ti, with batches of 4 images of 800×1200. Levels are FLOPs at 224×224.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements.head_to_head import Orders, emulated_orders, orders_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.networks.trunk import trunk_of
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.onnx_models.nodes import Tensor
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.statistics import kendall_tau

if TYPE_CHECKING:  # it loads torch
    from nas_sv2.evaluate.detection.detector import Detector

TABLE_7 = "table7.csv"
CATEGORIES = 80  # of COCO
SEED = 0
"""Of the weights, which do not change the time of a backbone."""
NOT_EMULATED = "not priced: suppression and RoI pooling"


@dataclass(frozen=True)
class DetectionRow:
    """A backbone at a level.

    Attributes:
        level: Complexity level.
        backbone: Name of the backbone in the paper.
        network: Our name of the network.
        reconstructed: Details that the sources leave open, and our choice.
        published_mmap: Published mmAP on COCO, in %.
        published_images_per_s: Published images per second of the whole detector on the GPU.
        classifier_flops: Multiply-adds of the classifier at 224×224, by which levels are named.
        flops: Multiply-adds of the backbone at the detector's input.
        detector_flops: The same of the whole detector, as `Detector.flops` counts them; None if
            whole detectors are not asked for.
        alone: Latency of the backbone; None if there is none.
        whole: Latency of the whole detector; None if there is none.
        lacks: Reason for a missing latency of the backbone; else empty.
        trained: Trained detectors: head, data, size and seed in words, and the measured mmAP in %.
    """

    level: str
    backbone: str
    network: str
    reconstructed: str
    published_mmap: float
    published_images_per_s: float
    classifier_flops: int
    flops: int
    detector_flops: int | None = None
    alone: Latency | None = None
    whole: Latency | None = None
    lacks: str = ""
    trained: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Agreement:
    """The order of some times against the published order, by Kendall's τ.

    Attributes:
        what: The thing that was timed: the backbone alone, or the whole detector.
        overall: τ over all rows; None for fewer than three.
        by_level: τ within each level.
        pairs: Pairs within levels whose published speeds differ.
        agreeing: Those of them in the published order.
        settled: Those of them whose order here is settled.
        settled_agreeing: Those of the settled ones in the published order.
    """

    what: str
    overall: float | None
    by_level: Mapping[str, float]
    pairs: int
    agreeing: int
    settled: int
    settled_agreeing: int


@dataclass(frozen=True)
class DetectionTable:
    """Table 7 on a target.

    Attributes:
        target: Name of the target.
        batch: Images of a run.
        height: Height of the images.
        width: Width of the images.
        rows: The rows, level by level.
        agreements: The orders here against that on the paper's GPU.
        flops_agreement: The same of the backbones' FLOPs; none of its pairs are called settled.
        whole_lacks: Reason for missing latencies of whole detectors; else empty.
    """

    target: str
    batch: int
    height: int
    width: int
    rows: tuple[DetectionRow, ...]
    agreements: tuple[Agreement, ...]
    flops_agreement: Agreement
    whole_lacks: str = ""

    def images_per_s(self, latency: Latency) -> float:
        """Return the images per second, one run after the other."""
        return 1000 * self.batch / latency.ms

    @property
    def levels(self) -> list[str]:
        """The levels, in order."""
        return list(dict.fromkeys(row.level for row in self.rows))


Trained = Mapping[str, Sequence[tuple[str, float]]]
"""Words and mmAP of trained detectors, by the digest of their network."""


def detection_rows(
    levels: Sequence[str], height: int, width: int, trained: Trained | None = None
) -> list[DetectionRow]:
    """Read the rows of some levels, and count their multiply-adds at an input.

    Raises:
        ConfigError: The input is too small for a network.
    """
    text = (resources.files("nas_sv2.studies.paper") / TABLE_7).read_text(encoding="utf-8")
    rows = []
    for row in csv.DictReader(text.splitlines()):
        if row["level"] not in levels:
            continue
        network = published_network(row["network"])
        structure = STRUCTURES.get(row["network"])
        rows.append(
            DetectionRow(
                row["level"],
                row["backbone"],
                row["network"],
                "" if structure is None else structure.reconstructed,
                float(row["mmap_percent"]),
                float(row["gpu_images_per_s"]),
                cost_of(lower(network)).flops,
                cost_of(trunk_of(network, height, width).graph).flops,
                trained=tuple((trained or {}).get(network.digest, ())),
            )
        )
    return rows


Times = Mapping[str, Latency]
"""Latencies by our names of the networks."""


def time_table_7(
    target: Target,
    levels: Sequence[str],
    height: int,
    width: int,
    *,
    whole: bool = True,
    trained: Trained | None = None,
    begun: Callable[[str], None] = lambda what: None,
) -> DetectionTable:
    """Time the backbones of Table 7 on `target`, and the whole detectors where it runs networks.

    The networks of a level are timed in alternation. Their weights are random.

    Raises:
        DeviceError: The device is missing or unreachable or lacks its runtime.
        MeasurementError: The device does not answer with a latency.
        StoreError: Stored measurements cannot be read or written.
    """
    rows = detection_rows(levels, height, width, trained)
    if whole:
        rows = [_with_detector(row, height, width) for row in rows]
    runs = target.device is not None
    orders: dict[str, list[tuple[Sequence[str], Orders]]] = {"backbone alone": []}
    if whole and runs:
        orders["whole detector"] = []
    for level in levels:
        of_level = [row for row in rows if row.level == level]
        begun(f"the backbones of level {level}")
        alone = [(row.network, backbone_model(row.network, height, width)) for row in of_level]
        times, lacks, order = _timed(target, alone)
        orders["backbone alone"].append(order)
        detectors: Times = {}
        if whole and runs:
            begun(f"the detectors of level {level}")
            models = [(row.network, whole_model(row.network, height, width)) for row in of_level]
            detectors, _, order = _timed(target, models)
            orders["whole detector"].append(order)
        rows = [
            _with_times(row, times, detectors, lacks) if row.level == level else row
            for row in rows
        ]
    agreements = [_agreement(what, rows, found) for what, found in orders.items()]
    lacking = NOT_EMULATED if whole and not runs else "" if whole else "not asked for"
    return DetectionTable(
        target.name,
        target.batch,
        height,
        width,
        tuple(rows),
        tuple(one for one in agreements if one.pairs),
        _flops_agreement(rows),
        lacking,
    )


def backbone_model(name: str, height: int, width: int) -> OnnxModel:
    """The backbone as an ONNX model, as written: without the form that needs no shuffles."""
    from nas_sv2.space.runtimes.onnx_lowering import INPUT, build_onnx

    graph = trunk_of(published_network(name), height, width).graph
    body = build_onnx(graph, random_weights(graph, SEED))
    return OnnxModel(f"{name} at {height}x{width}", body, (Tensor(INPUT, (1, 3, height, width)),))


def whole_model(name: str, height: int, width: int) -> OnnxModel:
    """Light-Head R-CNN on the backbone as an ONNX model, for the 80 categories of COCO."""
    from nas_sv2.evaluate.detection.onnx_detector import untrained_model

    return untrained_model(detector_of(name, height, width), f"Light-Head R-CNN on {name}")


def detector_of(name: str, height: int, width: int) -> "Detector":
    """Light-Head R-CNN on the backbone, for the 80 categories of COCO."""
    from nas_sv2.evaluate.detection.detector import Detector

    return Detector(published_network(name), "light-head", height, width, CATEGORIES)


def _with_detector(row: DetectionRow, height: int, width: int) -> DetectionRow:
    return replace(row, detector_flops=detector_of(row.network, height, width).flops)


def _with_times(
    row: DetectionRow, alone: Times, whole: Times, lacks: Mapping[str, str]
) -> DetectionRow:
    name = row.network
    return replace(row, alone=alone.get(name), whole=whole.get(name), lacks=lacks.get(name, ""))


def _timed(
    target: Target, models: Sequence[tuple[str, OnnxModel]]
) -> tuple[Times, Mapping[str, str], tuple[Sequence[str], Orders]]:
    """Latencies, reasons for missing ones, and the order of the networks that have one."""
    if target.device is not None:
        found = target.device.session([model for _, model in models])
        names = [name for name, _ in models]
        times = dict(zip(names, (one.latency(target.name) for one in found), strict=True))
        return times, {}, (names, orders_of(found))
    lacks: dict[str, str] = {}
    times = {}
    for name, model in models:
        try:
            kernels = target.uncovered(model)
        except ConfigError as error:
            lacks[name] = str(error)
            continue
        if kernels:
            lacks[name] = "not covered: " + ", ".join(kernels[:3])
        else:
            times[name] = target.estimate(model)
    return times, lacks, (list(times), emulated_orders(list(times.values())))


def _agreement(
    what: str, rows: Sequence[DetectionRow], orders: Sequence[tuple[Sequence[str], Orders]]
) -> Agreement:
    speeds = {row.network: row.published_images_per_s for row in rows}
    judged = [
        (speeds[names[pair.faster]] > speeds[names[pair.slower]], pair.settled)
        for names, order in orders
        for pair in order.pairs
        if speeds[names[pair.faster]] != speeds[names[pair.slower]]
    ]
    timed = [
        (row, latency.ms)
        for row in rows
        for latency in [row.alone if what == "backbone alone" else row.whole]
        if latency is not None
    ]
    return Agreement(
        what,
        *_taus(timed),
        pairs=len(judged),
        agreeing=sum(same for same, _ in judged),
        settled=sum(settled for _, settled in judged),
        settled_agreeing=sum(same for same, settled in judged if settled),
    )


def _flops_agreement(rows: Sequence[DetectionRow]) -> Agreement:
    pairs = [
        (one.flops < other.flops) == (one.published_images_per_s > other.published_images_per_s)
        for one, other in combinations(rows, 2)
        if one.level == other.level
        and one.published_images_per_s != other.published_images_per_s
        and one.flops != other.flops
    ]
    taus = _taus([(row, float(row.flops)) for row in rows])
    return Agreement("FLOPs of the backbone", *taus, len(pairs), sum(pairs), 0, 0)


def _taus(
    timed: Sequence[tuple[DetectionRow, float]],
) -> tuple[float | None, Mapping[str, float]]:
    """Kendall's τ of figures that are lower for faster networks, overall and by level."""

    def tau(chosen: Sequence[tuple[DetectionRow, float]]) -> float | None:
        if len(chosen) < 3:
            return None
        ours = np.array([-value for _, value in chosen])
        theirs = np.array([row.published_images_per_s for row, _ in chosen])
        return float(kendall_tau(ours, theirs))

    levels = dict.fromkeys(row.level for row, _ in timed)
    within = {level: tau([one for one in timed if one[0].level == level]) for level in levels}
    return tau(timed), {level: value for level, value in within.items() if value is not None}
