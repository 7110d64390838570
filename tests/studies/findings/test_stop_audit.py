"""What the note under a front says of the stop rule."""

import dataclasses

import pytest
from doubles import record_of

from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.findings.stop_audit import StopAudit, audit_stops


def trained(
    accuracy: float, ms: float, passes: int, said: float | None = None, seeds: int = 1
) -> Record:
    """Ten seconds a pass."""
    record = record_of(accuracy, ms)
    evaluation = dataclasses.replace(
        record.evaluation,
        epochs=passes,
        seconds=10.0 * passes * seeds,
        scores=(accuracy,) * seeds,
        stopped="a reason" if said else None,
    )
    excesses = dict(record.excesses) | ({} if said is None else {STOP_RULE: said})
    return dataclasses.replace(record, evaluation=evaluation, excesses=excesses)


def test_a_rule_that_never_spoke_says_nothing() -> None:
    assert audit_stops(Front({})) is None
    assert audit_stops(Front({0: trained(0.9, 5.0, 4)})) is None


def test_stops_and_audits_are_counted() -> None:
    records = {
        0: trained(0.9, 5.0, 4),
        1: trained(0.5, 6.0, 1, said=1.0),
        2: trained(0.6, 7.0, 3, said=1.0),
        3: trained(0.95, 8.0, 4, said=0.0),
        4: trained(0.8, 9.0, 4, said=0.0),
    }
    found = audit_stops(Front(records))
    assert found == StopAudit(stopped=2, audited=2, entered=1, spent_s=160.0, saved_s=40.0)
    assert found.saved == pytest.approx(0.2)
    text = found.describe()
    assert text.startswith("2 trainings stopped early, 20% of the time saved (0.7 min); of 2 ")
    assert "1 on the front" in text and "98%" in text  # 1 of 2: at most 97.5 % (Clopper, Pearson)


def test_the_other_seeds_of_a_stopped_training_are_saved_too() -> None:
    records = {0: trained(0.9, 5.0, 4, seeds=2), 1: trained(0.5, 6.0, 1, said=1.0)}
    found = audit_stops(Front(records))
    assert found is not None
    assert (found.spent_s, found.saved_s) == (90.0, 70.0)
    text = "1 training stopped early, 44% of the time saved (1.2 min); none audited"
    assert found.describe() == text


def test_a_stopped_training_is_never_on_the_front() -> None:
    records = {0: trained(0.5, 5.0, 4), 1: trained(0.9, 4.0, 1, said=1.0)}
    assert [entry.number for entry in Front(records).entries] == [0]
