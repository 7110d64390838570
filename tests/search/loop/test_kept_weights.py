"""Which weights a search keeps, against the definition."""

from collections.abc import Mapping
from dataclasses import replace

from doubles import record_of
from hypothesis import given
from hypothesis import strategies as st

from nas_sv2.search.loop.kept_weights import too_far
from nas_sv2.studies.findings.record import Record

FEW = st.sampled_from([0.1, 0.2, 0.3])  # so that many are equal
DRAWN = st.lists(st.tuples(FEW, FEW, FEW, st.booleans(), st.booleans()), max_size=12)


def records_of(drawn: list[tuple[float, float, float, bool, bool]]) -> dict[int, Record]:
    return {
        number: named(
            record_of(*figures, excess=0.1 if late else -0.1, baseline="x" if known else None),
            number,
        )
        for number, (*figures, late, known) in enumerate(drawn)
    }


def named(record: Record, number: int) -> Record:
    """Give a record a network of its own, whose weights take 4 times 1,000,000 bytes."""
    network = replace(record.architecture, classes=number + 1)
    return replace(record, architecture=network, cost=replace(record.cost, params=10**6))


def dropped(records: Mapping[int, Record], most_bytes: int) -> list[int]:
    digests = {record.architecture.digest: n for n, record in records.items()}
    return [digests[digest] for digest in too_far(records, most_bytes)]


@given(DRAWN, st.integers(0, 6))
def test_the_front_the_baselines_and_what_few_beat_are_kept(
    drawn: list[tuple[float, float, float, bool, bool]], room: int
) -> None:
    records = records_of(drawn)
    found = dropped(records, room * 4 * 10**6)
    feasible = {n: one for n, one in records.items() if one.feasible}
    beaten = {n: sum(x.dominates(r) for x in feasible.values()) for n, r in feasible.items()}
    behind = [n for n in feasible if beaten[n] and not records[n].baseline]
    far = sorted(behind, key=lambda n: (beaten[n], -n))[room:]
    beyond = [n for n, one in records.items() if not one.feasible and not one.baseline]
    assert sorted(found) == sorted(far + beyond)


def test_a_study_without_a_candidate_within_its_limits_drops_what_it_has() -> None:
    assert dropped(records_of([(0.1, 0.1, 0.1, True, False)]), 10**9) == [0]
    assert dropped({}, 10**9) == []
