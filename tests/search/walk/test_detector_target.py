"""A target that times whole detectors."""

import dataclasses
from contextlib import closing

import pytest
from doubles import latency_of

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.detection.detector import DetectorForm
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.walk.detector_target import DetectorTarget
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import OnnxModel
from nas_sv2.space.units.reference import reference

FORM = DetectorForm("ssdlite", 64, 96)
NETWORK = reference("shufflenet_v2_x0_5")


class Kept:
    """Keeps the networks that it is asked for."""

    name = "kept"
    provenance: Provenance = "measured"

    def __init__(self) -> None:
        self.asked: list[Network] = []

    def estimate(self, network: Network) -> Latency:
        self.asked.append(network)
        return latency_of(1.0)


@pytest.mark.parametrize("head", ["ssdlite", "light-head"])
def test_the_whole_detector_is_asked_for(head: str) -> None:
    kept = Kept()
    target = DetectorTarget(UserTarget(kept), dataclasses.replace(FORM, head=head), 10)
    target.check(NETWORK)
    assert target.estimate(NETWORK).ms == 1.0
    first, again = kept.asked
    assert isinstance(first, OnnxModel) and first.digest == again.digest
    assert first.inputs[0].shape == (1, 3, 64, 96)
    assert b"NonMaxSuppression" in first.body
    assert target.whole(first) is first


def test_a_table_without_the_operators_is_refused_by_their_name() -> None:
    with closing(TargetBook.read().open("arm")) as arm:
        if arm.device is not None:
            pytest.skip("this machine is an ARM, which runs the detector")
        with pytest.raises(ConfigError, match=r"here .* is NonMaxSuppression; got 'arm'"):
            DetectorTarget(arm, FORM, 10).check(NETWORK)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"precision": "int8"}, "precision is int8"), ({"batch": 8}, "batch is 8")],
)
def test_a_plan_of_other_networks_is_refused_before_it_measures(
    change: dict[str, object], why: str
) -> None:
    with closing(TargetBook.read().open("cpu")) as cpu:
        with pytest.raises(ConfigError, match=f"must time a detector.*; here {why}; got 'cpu'"):
            DetectorTarget(cpu.with_plan(**change), FORM, 10).check(NETWORK)
        DetectorTarget(cpu, FORM, 10).check(NETWORK)
