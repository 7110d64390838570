"""The content of a network's card in a report."""

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.breakdown.profiled import Profile, profile_of
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.resolution import height_and_width
from nas_sv2.space.graph.guidelines import SCORES, blocks_of
from nas_sv2.space.graph.operators import Value
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.reuse.channel_reuse import as_trained, channel_reuse, reused_weights
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.space.units.architecture import FIRST_STAGE, Architecture
from nas_sv2.studies.findings.attributes import detector_in
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network in its block diagram.

    Attributes:
        name: The paper's name of the part.
        units: Number of building blocks; 0 for a part that is not a stage.
        convolved: Share of the channels that its units convolve.
        channels: Number of output channels.
        map_size: Height and width of the output map.
        block: Kernel and split of its blocks, in words.
        options: Additions, in words.
    """

    name: str
    units: int
    convolved: float
    channels: int
    map_size: tuple[int, int]
    block: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """A guideline on a network.

    Attributes:
        name: The name of the guideline.
        means: The meaning of the value.
        value: The value of this network.
        baseline: The value of the hand-designed network, or None without one.
        limit: The limit of the study; None if it has no limit on this value.
    """

    name: str
    means: str
    value: float
    baseline: float | None
    limit: float | None


@dataclass(frozen=True)
class NetworkCard:
    """A network of the front with the content of its card.

    Attributes:
        number: The number of the trial.
        record: The record of the trial.
        parts: The parts of the network, from input to classifier.
        scores: The values of the paper's guidelines.
        wasted: The share of time that each guideline wastes, by target and guideline, after the
            device's own guideline profile.
        profiles: The kernel times by target; targets that were not asked are missing.
        reuse_png: The feature-reuse map as a PNG in base64; None if weights were not kept.
        reuse_is: A description of the weights behind the map.
    """

    number: int
    record: Record
    parts: Sequence[Part]
    scores: Sequence[Score]
    wasted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    reuse_png: str | None = None
    reuse_is: str = ""

    @property
    def name(self) -> str:
        """The name of the hand-designed network, else the start of the digest."""
        return name_of(self.record)


def name_of(record: Record) -> str:
    """Return the name of the hand-designed network, else the start of the digest."""
    return record.baseline or record.architecture.digest[:8]


def parts_of(architecture: Architecture) -> list[Part]:
    """Return the parts of a network, from input to classifier."""
    left = {block: graph.output for block, graph in blocks_of(lower(architecture)).items()}
    pool = ("max pool",) if architecture.stem_pool else ()
    parts = [
        Part("input", 0, 0.0, architecture.channels, height_and_width(architecture.resolution)),
        Part("stem", 0, 0.0, left["stem"].channels, _size(left["stem"]), "3×3", pool),
    ]
    for number, stage in enumerate(architecture.stages, FIRST_STAGE):
        out = left[f"stage{number}.{stage.depth - 1}"]
        block = f"{stage.kernel}×{stage.kernel}, {stage.split}"
        name, share = f"stage {number}", float(stage.split)
        parts.append(
            Part(name, stage.depth, share, out.channels, _size(out), block, stage.additions)
        )
    return [
        *parts,
        Part("head", 0, 0.0, architecture.head, parts[-1].map_size, "1×1"),
        Part("classes", 0, 0.0, architecture.classes, (1, 1), "pool, linear"),
    ]


def _size(value: Value) -> tuple[int, int]:
    return value.height, value.width


_MEANS = {
    "G1": "memory access of 1×1 convolutions beyond the ideal of equal widths",
    "G2": "memory access of group convolutions beyond dense ones",
    "G3": "operators for a million multiply-adds",
    "G4": "share of memory access in element-wise operators",
}


def scores_of(record: Record, baseline: Record | None, limits: Mapping[str, float]) -> list[Score]:
    """Score a network by the paper's guidelines, beside a hand-designed one."""
    graph = lower(record.architecture)
    other = None if baseline is None else lower(baseline.architecture)
    return [
        Score(
            name,
            _MEANS[name],
            score(graph),
            None if other is None else score(other),
            limits.get(name),
        )
        for name, score in SCORES.items()
    ]


def wasted_by(
    record: Record, profiles: Mapping[str, GuidelineProfile]
) -> dict[str, dict[str, float]]:
    """Return the share of time that each guideline wastes, by target and guideline.

    Targets whose profile lacks an operator of the network are left out.
    """
    graph = lower(record.architecture)
    found = {}
    for target, profile in profiles.items():
        try:
            found[target] = profile.waste(graph).shares
        except MeasurementError:  # an operator that was never timed there
            continue
    return found


def reuse_png(record: Record, weights: Weights, width_factor: float) -> str:
    """Draw the feature-reuse map of weights, trained at a share of the widths, as base64 PNG."""
    from nas_sv2.studies.pages.network_pictures import draw_reuse  # matplotlib

    network = as_trained(record.architecture, weights, width_factor)
    graph = lower(network)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "reuse.png"
        draw_reuse(channel_reuse(graph), reused_weights(graph, weights), [], picture)
        return base64.b64encode(picture.read_bytes()).decode()


@dataclass(frozen=True, slots=True)
class OperatorProfiles:
    """Profiles networks on emulated targets, and on measured ones if it may ask them.

    Attributes:
        db: The database of the measurements.
        ask_devices: Whether measured targets are asked, which takes seconds for each network.
        notify: Called with a line for each wait.
    """

    db: Database
    ask_devices: bool
    notify: Callable[[str], None]

    def __call__(
        self, records: Mapping[int, Record], identity: Mapping[str, Any]
    ) -> tuple[dict[int, dict[str, Profile]], list[str]]:
        """Return profiles by trial and target, and the reason for each missing target."""
        found: dict[int, dict[str, Profile]] = {number: {} for number in records}
        if detector_in(identity) is not None:
            return found, ["a detector is timed whole; its operators are not timed"]
        notes = []
        book = TargetBook.of_study(identity)
        for name in next(iter(records.values())).latencies if records else ():
            try:
                profiles = self._on(book, name, records)
            except (ConfigError, DeviceError, MeasurementError) as error:
                notes.append(f"{name} cannot tell: {error}")
                continue
            if profiles is None:
                notes.append(f"{name} was not asked; a report with operators times them")
                continue
            for number, profile in profiles.items():
                found[number][name] = profile
        return found, notes

    def _on(
        self, book: TargetBook, name: str, records: Mapping[int, Record]
    ) -> dict[int, Profile] | None:
        """Return the profiles on one target; None if it may not be asked."""
        kinds = {record.latencies[name].provenance for record in records.values()}
        if kinds != {"emulated"} and not self.ask_devices:
            return None
        store = MeasurementStore(self.db)
        with closing(book.open(name, store=store, notify=self.notify)) as target:
            return self._profiles(target, records)

    def _profiles(self, target: Target, records: Mapping[int, Record]) -> dict[int, Profile]:
        found = {}
        for number, record in records.items():
            self.notify(f"{target.name}: operators of trial {number}")
            profile = profile_of(target, record.architecture)
            was, here = record.latencies[target.name].device, profile.whole.device
            if was != here:
                raise DeviceError(f"the study was measured on {was}; here is {here}")
            found[number] = profile
        return found
