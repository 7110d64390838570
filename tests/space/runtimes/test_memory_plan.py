"""The memory that runtimes set aside, held against the runtimes themselves."""

import random

import peak_memory
import pytest
from hypothesis import HealthCheck, given, settings
from strategies import architectures

from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.families.published import published_network
from nas_sv2.space.graph.cost import BYTES_PER_NUMBER
from nas_sv2.space.graph.peak_memory import peak_memory_of
from nas_sv2.space.networks.lowering import Classifier, lower
from nas_sv2.space.runtimes.memory_plan import PLANNED, memory_in
from nas_sv2.space.runtimes.onnx_lowering import build_onnx
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.tflite_lowering import build_tflite
from nas_sv2.space.runtimes.weights import random_weights
from nas_sv2.space.units.architecture import Architecture

REFERENCES = (
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "mobilenet_v2_x1_0",
    pytest.param("resnet50", marks=pytest.mark.slow),
)
AGREES = 0.10
"""The most that a plan of onnxruntime may differ by; most are exact, and all of LiteRT."""


@pytest.mark.parametrize("name", [*REFERENCES, "light_densenet_x0_5", "shufflenet_v1_g3_x0_5"])
def test_the_arena_is_that_of_litert(name: str) -> None:
    assert_arena(published_network(name))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_the_arena_of_a_random_network_is_that_of_litert(architecture: Architecture) -> None:
    """Sums, products and reshapes share the memory of an input."""
    assert_arena(architecture)


def assert_arena(network: Classifier) -> None:
    graph = lower(network)
    model = build_tflite(*without_shuffles(graph, random_weights(graph, 0)))
    assert memory_in(graph, "litert").activation_bytes == peak_memory.litert_arena(model)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_block_is_that_of_onnxruntime(name: str) -> None:
    graph = lower(published_network(name))
    model = build_onnx(*without_shuffles(graph, random_weights(graph, 0)))
    ends = BYTES_PER_NUMBER * (graph.input.elements + graph.output.elements)
    found = memory_in(graph, "onnxruntime").activation_bytes - ends
    assert found == pytest.approx(
        peak_memory.block_bytes(model, "ORT_ENABLE_EXTENDED"), rel=AGREES
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_runtime_sets_less_aside_than_is_alive_at_once(seed: int) -> None:
    graph = lower(open_space("140M").sample(RandomSuggester(random.Random(seed))))
    least = peak_memory_of(without_shuffles(graph, {})[0])
    for runtime in PLANNED:
        found = memory_in(graph, runtime)
        assert found.activation_bytes >= least.activation_bytes
        assert found.weight_bytes == least.weight_bytes


def test_of_another_runtime_it_is_the_least() -> None:
    graph = lower(published_network("mobilenet_v2_x1_0"))
    assert memory_in(graph, "ncnn") == peak_memory_of(graph)
