"""The order of runs, loads and rounds, with networks that are a few microseconds of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from nas_sv2.latency.agent.timed_runs import Network, timed
from nas_sv2.latency.devices.local import CPU_PLAN

PLAN = {
    **CPU_PLAN.to_json(),
    "cpu_time_is_latency": True,
    "settle_s": 1e-5,
    "block_s": 1e-5,
    "min_block_runs": 5,
    "warmup_runs": 3,
    "min_runs": 60,
    "max_runs": 100,
    "time_limit_s": 0.05,
    "noisy_time_limit_s": 0.1,
}


@dataclass
class Workshop:
    """Loads networks that note who ran."""

    log: list[str] = field(default_factory=list)

    def load(self, name: str, work: int = 200) -> Callable[[], Network]:
        def load() -> Network:
            self.log.append("load " + name)

            def run() -> None:
                self.log.append(name)
                sum(range(work))

            def series(kept: Sequence[int]) -> dict[str, list[float]]:
                return {"event_ms": [float(number) for number in kept]}

            return Network(run, [0.0], series)

        return load


def changes(log: list[str]) -> list[str]:
    """Who ran, each turn once."""
    return [name for name, before in zip(log, ["", *log], strict=False) if name != before]


def test_rounds_alternate_and_each_network_is_first_in_its_turn() -> None:
    shop = Workshop()
    answer = timed([shop.load("a"), shop.load("b")], {**PLAN, "loads": 1})
    one, two = answer["networks"]
    assert one["rounds"] == sorted(one["rounds"])
    assert set(one["rounds"]) == set(two["rounds"])
    warm = shop.log.index("b", shop.log.index("b"))  # the last to warm up
    turns = changes(shop.log[warm:])
    # b warms up; then a b, b a, a b ...: one turn each round, joined where rounds meet.
    assert set(turns) == {"a", "b"}
    assert len(turns) >= len(set(one["rounds"]))


def test_every_network_is_loaded_as_often_as_asked_and_in_turned_order() -> None:
    shop = Workshop()
    answer = timed([shop.load("a"), shop.load("b")], {**PLAN, "loads": 4})
    loads = [entry for entry in shop.log if entry.startswith("load")]
    assert loads == [f"load {name}" for name in "abbaabba"]
    for network in answer["networks"]:
        assert len(network["wall_ns"]) == len(network["series"]["event_ms"])
        assert len(network["wall_ns"]) >= PLAN["min_runs"]


def test_every_load_has_its_share_of_the_runs() -> None:
    shop = Workshop()
    timed([shop.load("a")], {**PLAN, "loads": 3, "time_limit_s": 1e-4})
    begins = [index for index, entry in enumerate(shop.log) if entry == "load a"]
    counts = [end - begin for begin, end in zip(begins, [*begins[1:], len(shop.log)], strict=True)]
    assert len(counts) == 3
    assert min(counts) >= PLAN["min_runs"] / 3


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        ({"time_limit_s": 1e-4, "noisy_time_limit_s": 1e-4}, range(60, 66)),
        ({"ci_width": 1e-9, "noisy_width": 1e-9, "noisy_time_limit_s": 60.0}, range(100, 106)),
    ],
)
def test_when_it_ends(change: dict[str, Any], runs: range) -> None:
    """With the fewest runs where time is up, with the most where the interval never narrows."""
    shop = Workshop()
    answer = timed([shop.load("a")], {**PLAN, "loads": 1, "time_limit_s": 60.0, **change})
    assert len(answer["networks"][0]["wall_ns"]) in runs


@pytest.mark.parametrize(("min_runs", "rounds"), [(64, 6), (48, 6), (24, 3), (17, 3), (8, 1)])
def test_few_runs_are_spread_over_enough_rounds(min_runs: int, rounds: int) -> None:
    """A ratio has an interval from 6 rounds on; three sessions of 17 runs have 9 together."""
    no_time = {"time_limit_s": 1e-4, "noisy_time_limit_s": 1e-4}
    plan = {**PLAN, **no_time, "loads": 1, "min_runs": min_runs, "min_block_runs": 64}
    shop = Workshop()
    answer = timed([shop.load("a"), shop.load("b")], plan)
    assert [len(set(network["rounds"])) for network in answer["networks"]] == [rounds, rounds]


def test_heating_runs_the_first_network_alone() -> None:
    shop = Workshop()
    answer = timed([shop.load("a"), shop.load("b")], {**PLAN, "loads": 1, "heat_s": 0.05})
    first_b = shop.log.index("b")
    assert shop.log[:first_b].count("a") > 100
    at_s, ms = answer["heating"][-1]
    assert at_s >= 0.05
    assert 0 < ms < 50
