import json
from dataclasses import replace

import pytest
from doubles import record_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import architectures

from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record


@given(architectures(), st.floats(0, 1), st.floats(0.01, 1e4))
def test_a_record_goes_through_json_and_back(
    architecture: Architecture, accuracy: float, ms: float
) -> None:
    record = record_of(accuracy, ms, architecture=architecture)
    assert Record.from_json(record.to_json()) == record
    ended = replace(record, foreseen=accuracy / 2)
    assert Record.from_json(ended.to_json()) == ended


def test_the_sampler_is_told_the_score_foreseen_of_a_training_that_was_ended() -> None:
    record = record_of(0.4, 3.0)
    assert record.sampler_objectives == record.objectives == (0.4, 3.0)
    assert replace(record, foreseen=0.7).sampler_objectives == (0.7, 3.0)
    assert replace(record, foreseen=0.7).objectives == (0.4, 3.0)
    older = json.loads(record.to_json())
    del older["foreseen"]
    assert Record.from_json(json.dumps(older)) == record


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"architecture": 1})])
def test_other_text_is_no_record(text: str) -> None:
    with pytest.raises(StoreError):
        Record.from_json(text)


POINTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(1, 4), st.booleans()), max_size=12
)


@given(POINTS)
def test_the_front_is_what_nothing_feasible_dominates(
    points: list[tuple[int, int, int, bool]],
) -> None:
    records = {
        number: record_of(a / 4, float(x), float(y), excess=-1.0 if inside else 1.0)
        for number, (a, x, y, inside) in enumerate(points)
    }
    front = {entry.number for entry in Front(records).entries}
    feasible = {number for number, record in records.items() if record.feasible}
    for number in feasible:
        beaten = any(records[rival].dominates(records[number]) for rival in feasible)
        assert (number in front) == (not beaten)
    assert front <= feasible
    if feasible:
        best = Front(records).best.record.evaluation.accuracy
        assert best == max(records[n].evaluation.figure.value for n in feasible)


def test_baselines_stand_behind_the_front_with_what_beats_them() -> None:
    records = {
        0: record_of(0.5, 10.0, baseline="v2"),
        1: record_of(0.6, 9.0),
        2: record_of(0.4, 5.0),
        3: record_of(0.3, 6.0),
        4: record_of(0.9, 20.0, excess=0.2, baseline="large"),
    }
    entries = Front(records).entries
    assert [entry.number for entry in entries] == [2, 1, 0, 4]
    assert [entry.beaten_by for entry in entries] == [None, None, 1, None]
    assert [entry.on_front for entry in entries] == [True, True, False, False]


def test_equal_records_do_not_beat_each_other() -> None:
    record = record_of(0.5, 1.0)
    assert not record.dominates(replace(record))
    assert len(Front({0: record, 1: replace(record)}).entries) == 2


def test_there_is_no_best_of_nothing_feasible() -> None:
    with pytest.raises(ConfigError, match="no finished trial"):
        _ = Front({0: record_of(0.5, 1.0, excess=1.0)}).best
