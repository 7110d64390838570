"""Devices that keep to the contract, and what the fake one does beyond it."""

from collections.abc import Iterator

import pytest
from ssh_server import SshServer

from nas_sv2.errors import DeviceError, MeasurementError
from nas_sv2.latency.devices.device import Device
from nas_sv2.latency.devices.local import LocalPython, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.devices.payload import Payload, payload_of
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference
from nas_sv2.testing import CONTRACT_PLAN, DeviceTests, FakeDevice

ONCE = MeasurePlan(reference=None)


class TestFakeDevice(DeviceTests):
    @pytest.fixture
    def device(self) -> Device:
        return FakeDevice()


@pytest.fixture(scope="module")
def agent() -> Iterator[Device]:
    with local_device("here") as device:
        yield device


class TestThisMachine(DeviceTests):
    @pytest.fixture
    def device(self, agent: Device) -> Device:
        return agent


@pytest.mark.slow
class TestThisMachineInTurn(DeviceTests):
    @pytest.fixture
    def device(self) -> Iterator[Device]:
        device = device_at("cpu", LocalPython())
        yield device
        device.close()


@pytest.mark.slow
class TestOverSsh(DeviceTests):
    @pytest.fixture
    def device(self, server: SshServer) -> Iterator[Device]:
        device = device_at("pi", server.host())
        yield device
        device.close()


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "shufflenet_v2_se_x1_0"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_its_times_follow_from_the_multiply_adds(name: str, runtime: str) -> None:
    network = reference(name)
    plan = MeasurePlan(runtime=runtime, lowering="plain")  # type: ignore[arg-type]
    (measurement,) = FakeDevice().measure([payload_of(network, plan)], plan)
    assert measurement.median_ms == pytest.approx(cost_of(lower(network)).flops / 1e8, rel=1e-5)


def test_its_times_are_those_it_is_told() -> None:
    device = FakeDevice(ms_of=lambda payload: 3.0)
    target = MeasuredTarget(MeasuredDevice("board", device, CONTRACT_PLAN))
    latency = target.estimate(reference("shufflenet_v2_x0_5"))
    assert (latency.ms, latency.ratio) == (3.0, 1.0)
    assert latency.device.startswith("board: none")


@pytest.mark.parametrize("kind", [DeviceError, MeasurementError])
def test_it_fails_when_it_is_told(kind: type[DeviceError | MeasurementError]) -> None:
    device = FakeDevice(fault=lambda number: kind("gone") if number == 2 else None)
    network = payload_of(reference("shufflenet_v2_x0_5"), ONCE)
    assert device.measure([network], ONCE)
    with pytest.raises(kind, match="gone"):
        device.measure([network], ONCE)
    assert device.measure([network], ONCE)
    assert device.measured == [network.architecture] * 2


def test_what_is_no_network_has_no_time() -> None:
    with pytest.raises(MeasurementError, match="no network"):
        FakeDevice().measure([Payload("x", b"{}")], ONCE)
