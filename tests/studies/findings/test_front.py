"""The front, against its definition."""

import pytest
from doubles import record_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.studies.findings.front import compare_all
from nas_sv2.studies.findings.fused_estimate import chance_in_words

FEW = st.sampled_from([0.1, 0.2, 0.3])  # so that many are equal
RECORDS = st.lists(st.tuples(FEW, FEW, FEW, st.sampled_from([-0.1, 0.0, 0.1])), max_size=12)


@settings(deadline=None)  # of time, on a busy machine
@given(RECORDS)
def test_every_candidate_stands_where_the_definition_puts_it(
    drawn: list[tuple[float, float, float, float]],
) -> None:
    records = {
        number: record_of(accuracy, first, second, excess=excess)
        for number, (accuracy, first, second, excess) in enumerate(drawn)
    }
    entries = {entry.number: entry for entry in compare_all(records)}
    assert list(entries) == list(records)
    feasible = {number: record for number, record in records.items() if record.feasible}
    front = {n for n, r in feasible.items() if not any(x.dominates(r) for x in feasible.values())}
    assert {number for number, entry in entries.items() if entry.on_front} == front
    for number, entry in entries.items():
        rivals = [n for n in front if records[n].dominates(records[number])]
        if not rivals:
            assert entry.beaten_by is None
            continue
        assert entry.beaten_by in rivals
        best = max(records[n].evaluation.score for n in rivals)
        assert records[entry.beaten_by].evaluation.score == best


@pytest.mark.parametrize(
    ("chance", "words"),
    [(0.0, "0%"), (0.002, "<1%"), (0.5, "50%"), (0.994, "99%"), (0.998, ">99%"), (1.0, "100%")],
)
def test_a_chance_near_the_ends_is_not_shown_as_certain(chance: float, words: str) -> None:
    assert chance_in_words(chance) == words
