"""Models for timing beside the architecture that they are said to be."""

import dataclasses

import pytest

from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.package.forms import TIMING, shuffle_free_onnx
from nas_sv2.studies.package.recompute import timing_checks


@pytest.mark.parametrize(
    "name", ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_residual_x1_0"]
)
def test_a_model_of_full_size_is_its_architecture(name: str) -> None:
    """Folded, a file has fewer numbers than the network has parameters."""
    network = dataclasses.replace(reference(name), classes=10)
    graph = lower(network)
    model = shuffle_free_onnx(graph, random_weights(graph, seed=0))
    ((checked, made),) = timing_checks(network, network, {TIMING: model})
    assert checked == TIMING and made.holds, made
    wider = dataclasses.replace(network, head=100 * network.head)
    ((_, refused),) = timing_checks(wider, wider, {TIMING: model})
    assert not refused.holds and "too small" in refused.found
