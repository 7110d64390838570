"""A front that is watched is the front."""

import random
from collections.abc import Mapping
from typing import Any

import pytest
from doubles import record_of

from nas_sv2.studies.findings import front
from nas_sv2.studies.findings.front import Front, GrowingFront
from nas_sv2.studies.findings.record import Record


def test_it_is_the_front_of_all_however_the_study_grows() -> None:
    chance = random.Random(4)
    watch, records = GrowingFront(), dict[int, Record]()
    for number in range(200):
        figures = chance.randrange(40) / 40, float(chance.randrange(1, 40))
        excess = chance.choice([-0.1, -0.1, -0.1, 0.2])
        baseline = "x1_0" if number % 50 == 0 else None
        records[number] = record_of(*figures, excess=excess, baseline=baseline)
        if chance.random() < 0.2:  # a later measurement
            changed = chance.choice(list(records))
            records[changed] = record_of(chance.random(), chance.uniform(1, 40))
        if chance.random() < 0.05:  # told anew by another trial
            records[1000 + number] = records.pop(chance.choice(list(records)))
        assert watch.update(dict(records)) == Front(records).entries


def test_what_was_beaten_is_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, find = list[list[int]](), front.find_dominators

    def heard(costs: Mapping[int, Any]) -> dict[int, int | None]:
        compared.append(list(costs))
        return find(costs)

    monkeypatch.setattr(front, "find_dominators", heard)
    watch = GrowingFront()
    records = {n: record_of(0.5 - n / 1000, 1.0 + n) for n in range(200)}
    assert [entry.number for entry in watch.update(records)] == [0]
    records = {**records, 200: record_of(0.4, 9.0), 201: record_of(0.9, 9.0)}
    assert [entry.number for entry in watch.update(records)] == [0, 201]
    assert compared == [list(range(200)), [0, 200, 201]]
