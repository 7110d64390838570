"""Where the time goes: emulated, and on a device whose times are written down."""

import dataclasses
import itertools

import pytest
from doubles import FakeTarget
from scripted import PLAN, ScriptedDevice

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.breakdown.profiled import Profile, profile_of, profiles_of
from nas_sv2.latency.devices.local import local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.kernels.kernel import ArmPrecision, live_ops
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS
from nas_sv2.latency.measurements.measurement import NodeTime
from nas_sv2.latency.measurements.plan import Lowering, MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

X05, X10 = reference("shufflenet_v2_x0_5"), reference("shufflenet_v2_x1_0")
KERNEL_US, REORDER_US = 10.0, 1.5


@dataclasses.dataclass
class ProfiledDevice(ScriptedDevice):
    """Kernels of 10 µs and one reorder of 1.5 µs; `measure` takes 3 ms, as scripted."""

    network: Architecture = X05

    def profile(self, payload: Payload, plan: MeasurePlan, timeout_s: float) -> list[NodeTime]:
        assert payload == payload_of(self.network, plan)
        self.calls.append("profile")
        graph, _ = without_shuffles(lower(self.network), {})
        nodes = [NodeTime(k.ops[0], "Conv", KERNEL_US) for k in kernels_of(graph)]
        return [nodes[0], NodeTime("ReorderOutput", "ReorderOutput", REORDER_US), *nodes[1:]]


def in_all_readings(profile: Profile) -> None:
    """Kernels, kinds and blocks are one sum."""
    assert sum(profile.kind_ms.values()) == pytest.approx(profile.ms)
    by_block = itertools.chain.from_iterable(kinds.values() for kinds in profile.block_ms.values())
    assert sum(by_block) == pytest.approx(profile.ms)
    assert tuple(profile.kind_ms) == RUN_KINDS


@pytest.mark.parametrize("core", ["cortex-a57", "cortex-a76"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("lowering", ["shuffle_free", "plain"])
def test_an_emulated_profile_is_the_estimate_taken_apart(
    core: str, precision: ArmPrecision, lowering: Lowering
) -> None:
    target = EmulatedArm.open(core, precision)
    target = dataclasses.replace(target, lowering=lowering)
    network = reference("shufflenet_v2_se_x0_5")
    profile = profile_of(target, network)
    assert profile.ms == pytest.approx(target.estimate(network).ms)
    assert profile.whole == target.estimate(network)
    assert profile.beyond == pytest.approx(0)
    in_all_readings(profile)
    graph = lower(network)
    if lowering == "shuffle_free":
        graph, _ = without_shuffles(graph, {})
    assert {op for kernel in profile.kernels for op in kernel.ops} == {
        op.name for op in live_ops(graph)
    }
    inserted = [kernel for kernel in profile.kernels if not kernel.ops]
    assert bool(inserted) == (precision == "int8")
    assert {kernel.kind for kernel in inserted} <= {"data"}
    assert profile.kind_ms["conv"] > profile.ms / 3
    shuffles = profile.kind_ms["shuffle"]
    assert 0 < shuffles < profile.ms / 4


def test_without_shuffles_less_is_moved() -> None:
    target = EmulatedArm.open()
    plain = dataclasses.replace(target, lowering="plain")
    free, written = profile_of(target, X10), profile_of(plain, X10)
    assert free.kind_ms["shuffle"] < written.kind_ms["shuffle"] / 2
    assert free.kind_ms["depthwise"] == pytest.approx(written.kind_ms["depthwise"])


def test_an_operator_without_a_price_is_named() -> None:
    huge = dataclasses.replace(X05, resolution=1100)
    with pytest.raises(MeasurementError, match=r"no price for .*@"):
        profile_of(EmulatedArm.open(), huge)


def test_a_measured_profile_stands_beside_the_network_without_a_profiler() -> None:
    device = ProfiledDevice()
    profile = profile_of(
        MeasuredTarget(MeasuredDevice("cpu", device, PLAN.changed(sessions=1))), X05
    )
    graph, _ = without_shuffles(lower(X05), {})
    count = len(kernels_of(graph))
    assert device.calls == ["profile", "measure"]
    assert profile.ms == pytest.approx((count * KERNEL_US + REORDER_US) / 1e3)
    assert profile.kind_ms["data"] == REORDER_US / 1e3
    assert profile.block_ms["stem"]["data"] == REORDER_US / 1e3
    assert (profile.whole.ms, profile.whole.provenance) == (3.0, "measured")
    assert profile.beyond == pytest.approx(3.0 / profile.ms - 1)
    assert list(profile.block_ms)[:2] == ["stem", "stage2.0"]
    assert list(profile.block_ms)[-1] == "head"
    in_all_readings(profile)


def test_several_networks_are_timed_in_one_session() -> None:
    device = ProfiledDevice()
    first, second = profiles_of(
        MeasuredTarget(MeasuredDevice("cpu", device, PLAN.changed(sessions=1))), [X05, X05]
    )
    assert device.calls == ["profile", "profile", "measure"]
    assert first == second


def test_a_device_that_cannot_tell_says_so() -> None:
    with pytest.raises(DeviceError, match="cpu: this device cannot tell"):
        profile_of(MeasuredTarget(MeasuredDevice("cpu", ScriptedDevice(), PLAN)), X05)


def test_onnxruntime_on_a_gpu_cannot_tell() -> None:
    plan = dataclasses.replace(PLAN, processor="cuda")
    with (
        local_device("here") as device,
        pytest.raises(DeviceError, match="on a CPU only; use torch"),
    ):
        device.profile(payload_of(X05, plan), plan, 60)


def test_a_target_of_another_sort_is_refused() -> None:
    refusal = r"target must be .* times or prices each kernel; .*; got 'fake'"
    with pytest.raises(ConfigError, match=refusal):
        profile_of(FakeTarget(), X05)
