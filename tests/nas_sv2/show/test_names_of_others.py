"""Names that others chose, from each of their sources: whatever they hold, nothing is painted."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from doubles import evaluation_of, latency_of, record_of

from nas_sv2.commands import data
from nas_sv2.commands.options import print_notes, print_parts
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKernel
from nas_sv2.latency.targets.entries import TargetInfo
from nas_sv2.latency.targets.try_out import Check
from nas_sv2.search.events.events import Notice, SearchDescribed, TrialFinished
from nas_sv2.show import measure_tables, network_tables, study_tables
from nas_sv2.show.console import output
from nas_sv2.show.search_events import PlainLines
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.catalog import Deleted, StudySummary
from nas_sv2.studies.storage.leftovers import Leftovers

HOSTILE = [
    "\x1b[2J\x1b[32mok   weights",
    "\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link",
    "\x9b31mred\x85\x07\x08\x7f",
    "\u202edesrever\u2066\u200f",
    "two\nok    weights\r\u2028three",
    "\udce9 of a file",
    "[red]cnn:fire:v2[/red]",
]

BEST = Figure("accuracy", 0.5)


def profile(name: str) -> Profile:
    """A device names its nodes, a network its blocks."""
    kernel = RunKernel(name, name, (name,), name, RUN_KINDS[0], 1.0)
    return Profile([kernel, dataclasses.replace(kernel, ops=())], [name], latency_of(2.0))


def record(name: str) -> Record:
    """A database names baselines, targets and recipes."""
    found = dataclasses.replace(record_of(0.5, 1.0, 2.0), baseline=name)
    evaluation = dataclasses.replace(evaluation_of(0.5), recipe=name, data=f"{name}@0")
    latencies = dict.fromkeys([name], latency_of(1.0))
    return dataclasses.replace(found, evaluation=evaluation, latencies=latencies)


def front(name: str) -> Iterable[Any]:
    records = {0: record(name), 1: dataclasses.replace(record(name), baseline=None)}
    return [
        study_tables.front_table(Front(records)),
        *study_tables.front_notes(Front(records), None),
    ]


def information(name: str) -> Iterable[Any]:
    """Folders name classes."""
    facts = {
        "classes": [name, "b"],
        "images": {name: [1, 2], "val": [1, 2]},
        "notes": [name],
        "several": False,
    }
    data._print(facts, False)
    return []


def events(name: str) -> Iterable[Any]:
    lines = PlainLines(output())
    for event in (
        SearchDescribed(name, (f"study     {name}", name)),
        Notice(name),
        TrialFinished(3, "rejected", name, None, 1.0, 1, 2, None, name),
        TrialFinished(3, "finished", "", record(name), 1.0, 1, 2, 5.0, name),
    ):
        lines(event)
    return []


SOURCES: dict[str, Callable[[str], Iterable[Any]]] = {
    "kernels by kind": lambda name: [network_tables.kind_table(name, profile(name))],
    "kernels by block": lambda name: [network_tables.block_table(name, profile(name))],
    "kernels one by one": lambda name: [network_tables.kernel_table(name, profile(name))],
    "notes on kernels": lambda name: network_tables.profile_notes(name, profile(name)),
    "classes": information,
    "events": events,
    "front": front,
    "latencies": lambda name: [
        measure_tables.latency_table([(name, name, latency_of(1.0))]),
        *measure_tables.latency_notes([(name, name, latency_of(1.0))]),
    ],
    "studies": lambda name: [
        study_tables.studies_table(
            [StudySummary(name, [name], [name], 1, Figure("accuracy", 0.5), None, name)]
        )
    ],
    "deleted": lambda name: study_tables.deleted_lines(Deleted(name, 1, 1, [name], name)),
    "left over": lambda name: study_tables.leftovers_lines(
        Leftovers([name], 1, [Path("a") / name.replace("\0", "")], [], 1)
    ),
    "targets": lambda name: [
        measure_tables.targets_table([TargetInfo(name, name, "measured", False, name)])
    ],
    "checks of a device": lambda name: [
        measure_tables.check_line(Check(name, True, 1.0, name)),
        measure_tables.check_line(Check(name, False, 1.0, name)),
    ],
}


@pytest.mark.parametrize("width", ["40", "160"])
@pytest.mark.parametrize("source", SOURCES)
def test_every_line_is_printable_and_none_is_forged(
    source: str, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    for text in HOSTILE:
        for part in SOURCES[source](text):
            print_notes([part]) if isinstance(part, str) else print_parts(output(), [part])
        captured = capsys.readouterr()
        lines = (captured.out + captured.err).split("\n")
        assert all(line.isprintable() for line in lines), text
        assert not any(line.startswith("ok    weights") for line in lines), text
