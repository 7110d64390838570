import dataclasses
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, StoreError
from nas_sv2.latency.devices import local
from nas_sv2.latency.devices.device import AgentDevice
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets import book
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.catalogue import catalogue
from nas_sv2.latency.targets.device_file import BUILT_IN
from nas_sv2.latency.targets.entries import DeviceTarget, Opening, measured_by
from nas_sv2.latency.targets.target import MeasuredTarget, Target
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import FakeDevice

QUICK = MeasurePlan(
    min_runs=10,
    max_runs=20,
    warmup_runs=3,
    timeout_s=20,
    sessions=1,
    time_limit_s=0.1,
    noisy_time_limit_s=0.1,
)


@pytest.fixture
def small() -> Architecture:
    return dataclasses.replace(reference("shufflenet_v2_x0_5"), resolution=64, classes=10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MeasurementStore]:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'studies.db'}"))
    yield store
    store.db.close()


@dataclasses.dataclass
class CountingDevice:
    """A real device that counts what it was asked."""

    inner: AgentDevice
    measured: int = 0

    @property
    def name(self) -> str:
        return self.inner.name

    def start(self) -> None:
        self.inner.start()

    def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
        return self.inner.fingerprint(plan)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        self.measured += 1
        return self.inner.measure(payloads, plan, reference=reference)

    def close(self) -> None:
        self.inner.close()


def test_the_cpu_is_measured(small: Architecture) -> None:
    target = TargetBook.read().open("cpu", require_measured=True)
    latency = target.estimate(small)
    target.close()
    assert (target.name, target.provenance, latency.provenance) == ("cpu", "measured", "measured")
    assert latency.ms > 0
    assert latency.ci_ms is not None
    assert latency.ci_ms[0] <= latency.ms <= latency.ci_ms[1]
    assert latency.device.startswith("cpu: ")
    assert "· onnxruntime " in latency.device
    assert latency.device.endswith("· 1 thread · batch 1")


def test_nothing_is_measured_twice(small: Architecture, store: MeasurementStore) -> None:
    device = CountingDevice(local_device("cpu"))
    first = MeasuredTarget(MeasuredDevice("cpu", device, QUICK, store)).estimate(small)
    again = MeasuredTarget(MeasuredDevice("cpu", device, QUICK, store)).estimate(small)
    assert (again, device.measured) == (dataclasses.replace(first, stored=True), 1)
    MeasuredTarget(MeasuredDevice("cpu", device, QUICK, store, fresh=True)).estimate(small)
    assert device.measured == 2
    MeasuredTarget(
        MeasuredDevice("cpu", device, dataclasses.replace(QUICK, seed=1), store)
    ).estimate(small)
    assert device.measured == 3
    device.close()


@pytest.mark.parametrize("lowering", ["plain", "shuffle_free"])
def test_what_is_measured_is_the_network(small: Architecture, lowering: str) -> None:
    """The agent's outputs are those of the plain graph in this process, whatever the lowering."""
    import onnxruntime

    from nas_sv2.space.runtimes.onnx_lowering import build_onnx
    from nas_sv2.space.runtimes.weights import random_weights

    plan = dataclasses.replace(QUICK, lowering=lowering)  # type: ignore[arg-type]
    graph = lower(small)
    model = build_onnx(graph, random_weights(graph, plan.seed), plan.batch)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(plan.seed).standard_normal((1, 3, 64, 64)).astype(np.float32)
    expected = session.run(None, {session.get_inputs()[0].name: image})[0].ravel()
    with local_device("cpu") as device:
        outputs = device.outputs(payload_of(small, plan), plan)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_the_names_of_the_built_in_targets_are_not_the_users_to_give() -> None:
    assert set(book.built_in_targets()) == set(BUILT_IN)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target must be one of cpu, arm, gpu, or .*got 'tpu'"):
        TargetBook.read().open("tpu")


@pytest.mark.parametrize("typed", ["pixel4", "Pixel-4", "pixel-4 "])
def test_a_name_beside_one_of_the_catalogue_is_told_the_one_that_is_meant(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"catalogue, such as pixel-4.*; nas-sv2 device add"):
        _ = TargetBook.read()[typed]


def test_how_a_target_runs_networks_is_known_of_the_catalogue_too() -> None:
    read = TargetBook.read()
    names = [*read.entries, *catalogue(), "a board that is gone"]
    assert read.executions(names) == {name: read[name].execution for name in names[:-1]}


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_on_an_arm_the_arm_target_is_this_machine(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local.platform, "machine", lambda: machine)  # type: ignore[attr-defined]
    target = TargetBook.read().open("arm", require_measured=True)
    target.close()
    assert (target.name, target.provenance) == ("arm", "measured")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.platform, "machine", lambda: "x86_64")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("elsewhere")
def test_elsewhere_the_arm_target_is_emulated_and_says_so() -> None:
    target = TargetBook.read().open("arm")
    latency = target.estimate(reference("shufflenet_v2_x1_0"))
    target.close()
    assert (target.name, target.provenance, latency.provenance) == ("arm", "emulated", "emulated")
    assert latency.note


@pytest.mark.usefixtures("elsewhere")
def test_an_emulated_figure_is_refused_where_measured_ones_are_required() -> None:
    with pytest.raises(ConfigError, match=r"target must be a target that measures.*'arm'"):
        TargetBook.read().open("arm", require_measured=True)


def no_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()


@pytest.mark.skipif("not no_gpu()", reason="has a GPU")
def test_without_a_gpu_the_target_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match=r"gpu: torch .* sees no CUDA GPU; use a machine where"):
        TargetBook.read().open("gpu")


@pytest.mark.parametrize("driver", [True, False])
def test_the_list_of_targets(driver: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Target:
        raise DeviceError("gpu: torch sees none")

    monkeypatch.setattr(book, "has_gpu_driver", lambda: driver)
    monkeypatch.setattr(DeviceTarget, "open", absent)
    infos = {info.name: info for info in TargetBook.read().describe()}
    assert list(infos) == ["cpu", "arm", "gpu"]
    assert infos["cpu"].available
    assert infos["arm"].available
    assert not infos["gpu"].available
    assert infos["gpu"].reason == (
        "gpu: torch sees none" if driver else "no GPU driver is loaded here"
    )


def test_the_package_is_light() -> None:
    code = (
        "import nas_sv2.latency, sys;"
        "print(sorted({'torch','onnx','onnxruntime','sqlalchemy','numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    "fault", [DeviceError("gone"), StoreError("no turn"), KeyboardInterrupt()]
)
def test_a_device_whose_fingerprint_is_not_to_be_had_is_closed(fault: BaseException) -> None:
    """Its agent has been started by then, and would run on."""

    class Faulty(FakeDevice):
        closed = False

        def fingerprint(self, plan: MeasurePlan) -> Fingerprint:
            raise fault

        def close(self) -> None:
            self.closed = True

    device = Faulty()
    with pytest.raises(type(fault)):
        measured_by("d", device, QUICK, Opening(), asked=True)
    assert device.closed
