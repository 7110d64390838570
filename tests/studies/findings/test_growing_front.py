"""A front that is watched is the front."""

import random

from doubles import record_of

from nas_sv2.studies.findings.front import Front, GrowingFront
from nas_sv2.studies.findings.record import Record


def test_it_is_the_front_of_all_however_the_study_grows() -> None:
    chance = random.Random(4)
    watch, records = GrowingFront(), dict[int, Record]()
    reported: list[Record] = []
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
        entries, beaten = watch.update(dict(records))
        assert entries == Front(records).entries
        reported += beaten
        shown = {entry.number for entry in entries}
        known = {id(record) for record in reported}
        assert all(id(records[n]) in known for n in records.keys() - shown)
        assert not any(records[n] is each for n in shown for each in beaten)


def test_what_was_beaten_is_not_compared_again() -> None:
    watch = GrowingFront()
    records = {n: record_of(0.5 - n / 1000, 1.0 + n) for n in range(200)}
    _, beaten = watch.update(records)
    assert len(beaten) == 199
    records = {**records, 200: record_of(0.4, 9.0), 201: record_of(0.9, 9.0)}
    entries, beaten = watch.update(records)
    assert [entry.number for entry in entries] == [0, 201]
    assert beaten == [records[200]]
