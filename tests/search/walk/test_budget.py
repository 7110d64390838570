from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.errors import ConfigError
from nas_sv2.search.walk.budget import Budget, parse_budget, parse_duration, read_budget
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.memory_plan import PLANNED, memory_in
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.storage.study import limits_of

TARGETS = ["arm", "cpu"]


@pytest.mark.parametrize(
    ("texts", "budget"),
    [
        ([], Budget()),
        (["140M"], Budget(flops=140e6)),
        (["140 M"], Budget(flops=140e6)),
        (["140MFLOPs"], Budget(flops=140e6)),
        (["140 MFLOPS"], Budget(flops=140e6)),
        (["100000000 flops"], Budget(flops=1e8)),
        (["2.5 M params"], Budget(params=2.5e6)),
        (["2.3G"], Budget(flops=2.3e9)),
        (["25ms"], Budget(latency_ms={"arm": 25, "cpu": 25})),
        (["arm=25ms"], Budget(latency_ms={"arm": 25})),
        (["arm=25ms", "cpu=2.5ms"], Budget(latency_ms={"arm": 25, "cpu": 2.5})),
        (["2.5Mparams"], Budget(params=2.5e6)),
        (["900Kparams", "41M"], Budget(flops=41e6, params=9e5)),
        (["2MiB"], Budget(memory_bytes=2 * 2**20)),
        (["512 KiB", "25ms"], Budget(latency_ms={"arm": 25, "cpu": 25}, memory_bytes=2**19)),
        (["1.5MB"], Budget(memory_bytes=1.5e6)),
    ],
)
def test_budgets_are_understood(texts: list[str], budget: Budget) -> None:
    assert parse_budget(texts, TARGETS) == budget


@pytest.mark.parametrize(
    "texts",
    [
        ["140"],
        ["140m"],
        ["140mflops"],
        ["1e8"],
        ["25MS"],
        ["-140M"],
        ["0M"],
        ["M"],
        ["140MM"],
        ["140 M B"],
        ["arm=140M"],
        ["gpu=5ms"],
        ["5s"],
        ["1e3M"],
        [""],
        ["140M", "150M"],
        ["25ms", "arm=20ms"],
        ["nanM"],
        ["2mib"],
        ["2MiBs"],
        ["arm=2MiB"],
        ["0KiB"],
        ["2MiB", "3MB"],
    ],
)
def test_other_words_are_refused_in_one_line(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="budget must") as caught:
        parse_budget(texts, TARGETS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("tolerance", [-1.0, -0.1, 1.0, float("nan")])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="tolerance must"):
        parse_budget([], TARGETS, tolerance)
    with pytest.raises(ConfigError, match="tolerance must"):  # -1 divided by zero later
        Budget(flops=140e6, tolerance=tolerance)


@pytest.mark.parametrize(
    ("field", "value"),
    [("latency_ms", 5), ("latency_ms", {1: 5}), ("runtimes", "litert"), ("runtimes", ())],
)
def test_a_budget_of_objects_is_held_to_its_types(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"budget {field} must"):
        Budget(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [5, None, ["140M", 5], {"140M"}])
def test_what_is_no_text_is_no_budget(budget: Any) -> None:
    with pytest.raises(ConfigError, match="budget must be a number with a unit"):
        read_budget(budget, TARGETS)


@given(st.floats(1e3, 1e12), st.floats(1e3, 1e12), st.floats(0, 0.9))
def test_an_excess_is_positive_exactly_beyond_the_limit(
    limit: float, flops: float, tolerance: float
) -> None:
    budget = Budget(flops=limit, params=limit, tolerance=tolerance)
    excesses = budget.cost_excesses(flops=flops, params=flops)
    assert (excesses["params"] > 0) == (flops > limit)
    assert excesses["flops"] <= excesses["params"]
    assert budget.constraints == list(excesses)


def test_memory_is_that_of_the_runtime_that_sets_most_aside() -> None:
    graph = lower(reference("shufflenet_v2_x1_0"))
    each = {name: memory_in(graph, name).bytes for name in PLANNED}
    both = Budget(memory_bytes=6e6, runtimes=PLANNED)
    assert both.memory_of(graph) == max(each.values()) == each["litert"]
    one = Budget(memory_bytes=2.0 * each["onnxruntime"])
    assert one.excesses_of(graph) == {"memory": -0.5}
    assert both.describe() == "5.722 MiB of memory in onnxruntime and litert"
    assert Budget().memory_of(graph) is None
    assert "memory_bytes" not in Budget().to_json()  # identities of older studies have none


@pytest.mark.parametrize("typed", ["1KiB", "0.5KiB", "512KiB", "2MiB", "3.25MiB", "3072MiB"])
def test_a_limit_on_memory_is_stored_as_it_is_typed(typed: str) -> None:
    assert limits_of(parse_budget([typed], ["arm"]).to_json()) == [typed]


def test_the_papers_network_of_a_level_meets_it() -> None:
    assert Budget(flops=140e6).cost_excesses(145_814_296, 0)["flops"] < 0


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations_are_understood(text: str, seconds: float) -> None:
    assert parse_duration("timeout", text) == seconds


@pytest.mark.parametrize("text", ["90", "-1s", "0m", "1d", "soon"])
def test_durations_need_a_unit(text: str) -> None:
    with pytest.raises(ConfigError, match="timeout must"):
        parse_duration("timeout", text)
