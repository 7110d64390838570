"""Files of ncnn that other tools wrote, and the line that each gets if it cannot be timed."""

import pytest

from nas_sv2.latency.agent.ncnn_run import Ncnn
from nas_sv2.latency.agent.needed import Refusal
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.graph.operators import Graph, GraphBuilder, Value
from nas_sv2.space.model_files.model_file import join_ncnn
from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles, build_ncnn
from nas_sv2.space.runtimes.weights import random_weights

PLAN = MeasurePlan(runtime="ncnn", precision="fp32").to_json()
INPUT = "Input input 0 1 input 0=5 1=4 2=3"


@pytest.fixture(scope="module")
def files() -> NcnnFiles:
    build, image = GraphBuilder(), Value("input", 3, 4, 5)
    value = build.linear("head", build.global_average_pool("pool", image), 2)
    graph = Graph(image, value, tuple(build.ops))
    return build_ncnn(graph, random_weights(graph, 0))


def test_a_file_runs_on_an_image_of_its_own_size(files: NcnnFiles) -> None:
    network = Ncnn.load(join_ncnn(files.param, files.weights), PLAN)
    assert len(network.outputs) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Input input 0 1 input", "no size of its input; write there: Input input 0 1 input 0=W"),
        (f"{INPUT}\nInput more 0 1 more 0=5 1=4 2=3", "one input, and has input, more"),
        ("MemoryData input 0 1 input 0=5 1=4 2=3", "must have one input, and has none"),
    ],
)
def test_a_file_of_other_ends_is_refused_with_what_it_lacks(
    files: NcnnFiles, line: str, message: str
) -> None:
    assert INPUT in files.param.decode()
    param = files.param.decode().replace(INPUT, line)
    if "\n" in line:  # the header states the number of layers and values
        _, header, *rest = param.splitlines()
        layers, values = map(int, header.split())
        param = "\n".join(["7767517", f"{layers + 1} {values + 1}", *rest, ""])
    weights = bytes(4 * 60) + files.weights if "Memory" in line else files.weights
    with pytest.raises(Refusal, match=message):
        Ncnn.load(join_ncnn(param.encode(), weights), PLAN)
