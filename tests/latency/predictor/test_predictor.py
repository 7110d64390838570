"""The predictor on a device whose times are known to the last digit."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, MeasurementError, StoreError
from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.kernels.node_costs import Piece, pieces_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Beside, Measurement, NodeTime
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.predictor import fit as predictor_fit
from nas_sv2.latency.predictor import predictor
from nas_sv2.latency.predictor.fit import Bag, Timed, can_predict, fit, report_on
from nas_sv2.latency.predictor.predicted_target import (
    PredictedTarget,
    PredictorStore,
    open_predicted,
)
from nas_sv2.latency.predictor.predictor import Predictor
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.probe_networks import latin_hypercube
from nas_sv2.space.choices.search_space import Range, SearchSpace, StageChoices
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import TargetTests

FACTS: dict[str, object] = {"cpu": "A", "runtime": "onnxruntime", "runtime_version": "1"}
FACTS |= {"threads": CPU_PLAN.threads, "precision": CPU_PLAN.precision}
HALF, QUARTERS = (Fraction(1, 2),), (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))
SPACE = SearchSpace(
    "small",
    stem=((8,), (16,)),
    stages=(
        StageChoices(Range(2, 4), Range(24, 56, 8), QUARTERS, (3, 5), (False, True)),
        StageChoices(Range(2, 6), Range(64, 96, 8), HALF, (3, 5), residual=(False, True)),
    ),
    head=Range(64, 128, 16),
    resolution=64,
    classes=10,
)


def node_us(piece: Piece) -> float:
    """A kernel alone: 5 µs and its multiply-adds, ten times as slow on unaligned channels."""
    slow = 10 if piece.kernel.channels_in % 4 else 1
    return 5 + sum(v.elements for v in piece.op.outputs) / 1e4 + slow * piece.op.output.area / 50


def network_us(architecture: Architecture) -> float:
    """A network: more than its kernels, by a share of some, by each and by itself."""
    pieces = pieces_of(architecture, CPU_PLAN.lowering)
    convolutions = sum(node_us(p) for p in pieces if p.kernel.kind.startswith("pointwise"))
    noise = 1 + 0.01 * (int(architecture.digest, 16) % 1000 / 500 - 1)
    return noise * (100 + sum(map(node_us, pieces)) + 0.3 * convolutions + 2 * len(pieces))


def every_run(ms: float) -> Samples:
    return Samples((ms,) * 60, (ms,) * 60, (0,) * 60, tuple(i // 3 for i in range(60)))


@dataclass
class KnownDevice:
    """`node_us` and `network_us`; every third session all networks take 0.5 ms longer."""

    networks: int = predictor_fit.NETWORKS
    name: str = "cpu"
    sessions: int = 0
    profiles: int = 0

    def start(self) -> None: ...

    def close(self) -> None: ...

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        return Fingerprint(FACTS)

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        self.profiles += 1
        bag = Bag.of_space(SPACE, plan, predictor_fit.SEED)
        names = {place: name for name, place in bag.places.items()}
        return [NodeTime(names[i], "Any", node_us(piece)) for i, piece in enumerate(bag.pieces)]

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        self.sessions += 1
        spell_ms = 0.5 if self.sessions % 3 == 0 else 0.0
        known = {a.digest: a for a in latin_hypercube(SPACE, self.networks, predictor_fit.SEED)}
        return [
            Measurement(
                architecture=payload.architecture,
                plan=plan,
                fingerprint=Fingerprint(FACTS),
                samples=every_run(network_us(known[payload.architecture]) / 1e3 + spell_ms),
                warmup_runs=20,
                stationary=True,
                session=str(self.sessions),
                measured_at="2026-01-01T00:00:00+00:00",
                beside=Beside(str(plan.reference), every_run(4.0 + spell_ms)),
            )
            for payload in payloads
        ]


@pytest.fixture(scope="module")
def fitted() -> PredictedTarget:
    return open_predicted(
        MeasuredTarget(MeasuredDevice("cpu", KnownDevice(), CPU_PLAN.changed(sessions=1))), SPACE
    )


@pytest.fixture(scope="module")
def others() -> list[Architecture]:
    return latin_hypercube(SPACE, 60, seed=99)


class TestPredicted(TargetTests):
    @pytest.fixture
    def target(self, fitted: PredictedTarget) -> PredictedTarget:
        return fitted

    @pytest.fixture
    def network(self, others: list[Architecture]) -> Architecture:
        return min(others, key=lambda other: cost_of(lower(other)).flops)

    @pytest.fixture
    def larger(self, others: list[Architecture]) -> Architecture:
        return max(others, key=lambda other: cost_of(lower(other)).flops)


def test_networks_it_never_saw_are_predicted(
    fitted: PredictedTarget, others: list[Architecture]
) -> None:
    found = [fitted.estimate(network) for network in others]
    measured = np.array([network_us(network) / 1e3 for network in others])
    report = report_on(np.array([latency.ms for latency in found]), measured, 0.0)
    assert report.within_5 >= 0.95
    assert report.spearman >= 0.99
    inside = [
        low <= ms <= high
        for (low, high), ms in zip((v.ci_ms or (0, 0) for v in found), measured, strict=True)
    ]
    assert np.mean(inside) >= 0.9


def test_equal_predictions_share_their_rank() -> None:
    predicted, measured = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4])
    assert report_on(predicted, measured, 0.0).spearman == pytest.approx(0.9**0.5)


def test_a_prediction_that_is_the_same_of_all_orders_nothing() -> None:
    report = report_on(np.ones(5), np.array([1.0, 2, 3, 4, 5]), 0.0)
    assert report.spearman == 0
    assert report.spearman_ci[0] < 0 < report.spearman_ci[1]


def test_multiply_adds_alone_would_not_do(others: list[Architecture]) -> None:
    flops = np.array([float(cost_of(lower(network)).flops) for network in others])
    measured = np.array([network_us(network) for network in others])
    line = np.polyval(np.polyfit(flops, measured, 1), flops)
    assert report_on(line, measured, 0.0).within_5 < 0.6


def test_it_says_what_it_is(fitted: PredictedTarget, others: list[Architecture]) -> None:
    latency = fitted.estimate(others[0])
    assert latency.provenance == fitted.provenance == "predicted"
    assert latency.device == "cpu: A · onnxruntime 1 · 1 thread · batch 1"
    assert (latency.runs, latency.contended) == (None, None)
    assert latency.reference == "shufflenet_v2_x1_0"
    assert latency.reference_ms == fitted.reference_ms == 4.0
    report = fitted.predictor.report
    assert latency.note == report.describe()
    assert latency.note.startswith("of 60 networks held out ")
    assert report.spearman_ci[0] < report.spearman < report.spearman_ci[1] <= 1
    assert fitted.predictor.error < 0.05


def test_milliseconds_are_at_the_pace_of_the_study(
    fitted: PredictedTarget, others: list[Architecture]
) -> None:
    slow = dataclasses.replace(fitted, reference_ms=8.0)
    assert slow.estimate(others[0]).ms == pytest.approx(2 * fitted.estimate(others[0]).ms)


def changed(stage: int, **changes: object) -> Architecture:
    network = latin_hypercube(SPACE, 60, seed=99)[0]
    stages = list(network.stages)
    stages[stage] = dataclasses.replace(stages[stage], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(network, stages=tuple(stages))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (
            changed(1, kernel=7),
            r"stage3\.0\.shortcut\.depthwise \(depthwise 7x7 s2 @8.*: the kinds seen were",
        ),
        (changed(1, width=256), r"stage3\..*: \d+ to \d+ (in|out)put channels were seen"),
        (
            dataclasses.replace(changed(0), resolution=96),
            r"stem\.0 \(conv 3x3 s2 @96.*: it was seen on maps of 64$",
        ),
        (changed(1, depth=60), r"its operators sum to .* ms were measured"),
    ],
)
def test_what_was_never_seen_is_refused_by_name(
    fitted: PredictedTarget, network: Architecture, named: str
) -> None:
    with pytest.raises(MeasurementError, match=f"^no prediction for .*{named}"):
        fitted.estimate(network)


def test_it_is_plain_data(fitted: PredictedTarget, others: list[Architecture]) -> None:
    again = Predictor.from_json(json.loads(json.dumps(fitted.predictor.to_json())))
    assert again == fitted.predictor
    assert again.predict(others[0]) == fitted.predictor.predict(others[0])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'studies.db'}"))
    yield store
    store.db.close()


def test_a_device_is_asked_once_for_each_space(store: MeasurementStore) -> None:
    device = KnownDevice()
    target = MeasuredTarget(MeasuredDevice("cpu", device, CPU_PLAN.changed(sessions=1), store))
    steps: list[tuple[int, int]] = []
    first = open_predicted(target, SPACE, lambda done, total: steps.append((done, total)))
    assert (device.profiles, device.sessions) == (1, 15)
    assert steps == [(done, 60) for done in range(0, 60, 4)]
    assert open_predicted(target, SPACE).predictor == first.predictor
    assert (device.profiles, device.sessions) == (1, 15)
    # A new fit times the bag again, and takes the networks' stored measurements.
    open_predicted(target, SPACE, fresh=True)
    assert (device.profiles, device.sessions) == (2, 15)


def test_a_predictor_of_an_older_version_does_not_count(
    store: MeasurementStore, fitted: PredictedTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = PredictorStore(store.db, Fingerprint(FACTS), CPU_PLAN, SPACE)
    assert place.find() is None
    monkeypatch.setattr(predictor, "SCHEMA", 0)
    place.save(fitted.predictor)
    assert place.find() is None
    monkeypatch.undo()
    place.save(fitted.predictor)
    assert place.find() == fitted.predictor
    elsewhere = dataclasses.replace(place, plan=dataclasses.replace(CPU_PLAN, seed=1))
    assert elsewhere.find() is None


def test_a_document_that_is_no_predictor_is_a_fault(
    store: MeasurementStore, fitted: PredictedTarget
) -> None:
    place = PredictorStore(store.db, Fingerprint(FACTS), CPU_PLAN, SPACE)
    place.save(fitted.predictor)
    with store.db.begin() as connection:
        connection.execute(text("UPDATE nas_predictors SET document = '{}'"))
    remedy = "; nas-sv2 device predictor --fresh makes a new one"
    with pytest.raises(StoreError, match=f"a stored predictor cannot be read: KeyError.*{remedy}"):
        place.find()


def test_a_predictor_without_costs_is_a_fault(fitted: PredictedTarget) -> None:
    document = fitted.predictor.to_json()
    document["costs"] = {name: [0.0] * len(row) for name, row in document["costs"].items()}
    with pytest.raises(ValueError, match="costs must be above 0 somewhere"):
        predictor.Predictor.from_json(document)


@pytest.mark.parametrize(
    "plan",
    [
        GPU_PLAN,
        dataclasses.replace(CPU_PLAN, precision="int8"),
        dataclasses.replace(CPU_PLAN, reference=None),
    ],
)
def test_other_plans_are_refused_before_anything_runs(plan: MeasurePlan) -> None:
    device = KnownDevice()
    assert not can_predict(plan)
    with pytest.raises(ConfigError, match=r"target .*on a CPU in float32.*; got 'cpu'"):
        open_predicted(MeasuredTarget(MeasuredDevice("cpu", device, plan)), SPACE)
    assert (device.profiles, device.sessions) == (0, 0)


def test_too_few_networks_are_no_fit() -> None:
    target = MeasuredTarget(
        MeasuredDevice("cpu", KnownDevice(networks=8), CPU_PLAN.changed(sessions=1))
    )
    with pytest.raises(MeasurementError, match="8 networks were measured; a fit takes 30"):
        predictor_fit.fit_on_device(target.device, SPACE, networks=8)


def test_a_session_in_a_slow_spell_is_no_fault() -> None:
    """The reference network lost more time than a small network takes at all."""
    bag = Bag.of_space(SPACE, CPU_PLAN, 0)
    networks = latin_hypercube(SPACE, predictor_fit.FEWEST, 0)
    timed = [
        Timed(pieces_of(each, CPU_PLAN.lowering), network_us(each) / 1e5, 5.0 if place else 50.0)
        for place, each in enumerate(networks)
    ]
    found = fit(CPU_PLAN, bag.pieces, list(map(node_us, bag.pieces)), timed, 0.0)
    assert found.slowness_power == 1.0 and found.report.within_10 > 0.5


def test_inserted_nodes_belong_to_the_kernel_they_serve() -> None:
    network = reference("shufflenet_v2_x0_5")
    bag = Bag([network, network], CPU_PLAN)
    nodes = [
        NodeTime("0/stem.0.relu_nchwc", "Conv", 10.0),
        NodeTime("ReorderOutput_token_7", "ReorderOutput", 1.0),
        NodeTime("ReorderInput", "ReorderInput", 2.0),
        NodeTime("1/stage2.0.shortcut.depthwise_nchwc", "Conv", 20.0),
        NodeTime("1/head.classifier.flat", "Flatten", 3.0),
        NodeTime("1/head.classifier", "Gemm", 30.0),
    ]
    times = bag.kernel_times(nodes)
    found = {piece.kernel.ops[0]: us for piece, us in zip(bag.pieces, times, strict=True) if us}
    assert found == {"stem.0": 11.0, "stage2.0.shortcut.depthwise": 22.0, "head.classifier": 33.0}
    assert times.index(11.0) == 0
    assert times.index(22.0) > len(bag.pieces) / 2


def test_a_real_bag_is_timed_to_the_last_kernel() -> None:
    networks = latin_hypercube(SPACE, 3, seed=0)
    bag = Bag(networks, CPU_PLAN)
    (payload,) = bag.payloads()
    with local_device("cpu") as device:
        times = bag.kernel_times(device.profile(payload, CPU_PLAN, 60.0))
    assert len(times) == len(bag.pieces)
    assert min(times) > 0
    stems = [us for piece, us in zip(bag.pieces, times, strict=True) if piece.op.name == "stem.0"]
    assert len(stems) == 3
    assert max(stems) > 10  # 64 × 64 pixels


@pytest.mark.slow
def test_a_real_device_is_predicted() -> None:
    with local_device("cpu") as device:
        target = MeasuredTarget(MeasuredDevice("cpu", device, CPU_PLAN.changed(sessions=1)))
        found = predictor_fit.fit_on_device(target.device, named_space("40M"), networks=40)
    assert found.report.within_10 > 0.8
    assert found.report.spearman > 0.95
