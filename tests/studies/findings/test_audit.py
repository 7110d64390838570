"""What an audit of the guidelines says of those that were not audited."""

from types import SimpleNamespace
from typing import Any

import pytest
from doubles import record_of
from optuna.trial import TrialState

from nas_sv2.errors import ConfigError
from nas_sv2.search.walk.audit import Audit
from nas_sv2.studies.findings.attributes import ARCHITECTURE, AUDITED, PRUNED
from nas_sv2.studies.findings.audit import ALL, Pruned, audit_guidelines
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.fused_estimate import FusedEstimate


def trial(
    number: int,
    digest: str,
    guideline: str | None = None,
    audited: bool = False,
    state: TrialState = TrialState.COMPLETE,
) -> Any:
    attributes: dict[str, Any] = {ARCHITECTURE: digest}
    if guideline is not None:
        attributes[PRUNED] = guideline
    if audited:
        attributes[AUDITED] = {guideline: 1.5}
    return SimpleNamespace(number=number, state=state, user_attrs=attributes)


def test_candidates_are_counted_once_and_by_guideline() -> None:
    trials = [
        trial(0, "a"),
        trial(1, "b", "G4", audited=True),
        trial(2, "b", "G4"),
        trial(3, "c", "G4", audited=True),
        trial(4, "d", "G4"),
        trial(5, "e", "G1"),
        SimpleNamespace(number=6, state=TrialState.RUNNING, user_attrs={}),
    ]
    records = {0: record_of(0.8, 5.0), 1: record_of(0.7, 6.0), 3: record_of(0.9, 7.0)}
    assert audit_guidelines(trials, Front(records)) == [
        Pruned(ALL, 4, 2, 1),
        Pruned("G4", 3, 2, 1),
        Pruned("G1", 1, 0, 0),
    ]
    assert audit_guidelines(trials[:2], Front(records)) == [Pruned("G4", 1, 1, 0)]
    assert audit_guidelines([], Front(records)) == []


def test_an_audit_that_was_interrupted_counts_when_it_was_asked_again() -> None:
    cut = trial(0, "a", "G4", audited=True, state=TrialState.FAIL)
    records = {1: record_of(0.9, 5.0)}
    assert audit_guidelines([cut], Front({})) == [Pruned("G4", 1, 0, 0)]
    again = trial(1, "a", "G4", audited=True)
    assert audit_guidelines([cut, again], Front(records)) == [Pruned("G4", 1, 1, 1)]
    too_slow = trial(1, "a", "G4", audited=True, state=TrialState.PRUNED)
    assert audit_guidelines([cut, too_slow], Front({})) == [Pruned("G4", 1, 1, 0)]


def test_the_front_is_the_one_that_is_shown() -> None:
    """That of the estimates, where a study has some."""
    records = {0: record_of(0.8, 5.0), 1: record_of(0.7, 6.0)}
    assert audit_guidelines([trial(1, "b", "G4", audited=True)], Front(records))[0].entered == 0
    believed = {
        number: FusedEstimate(mean, mean, mean, 1.0, None, "accuracy")
        for number, mean in ((0, 0.7), (1, 0.75))
    }
    front = Front(records, believed)
    assert [entry.number for entry in front.members] == [0, 1]
    assert audit_guidelines([trial(1, "b", "G4", audited=True)], front)[0].entered == 1


@pytest.mark.parametrize(
    ("audited", "entered", "most"),
    [(20, 0, 0.1391), (59, 0, 0.0495), (10, 1, 0.3942), (3, 3, 1.0), (1, 0, 0.95)],
)  # 1 − 0.05^(1/n) where none entered; Clopper and Pearson's tables else
def test_the_bound_is_exact(audited: int, entered: int, most: float) -> None:
    found = Pruned("G4", 100, audited, entered)
    assert found.most_wrong == pytest.approx(most, abs=1e-3)
    assert f"{audited} audited, of which {entered} are on the front" in found.describe()


@pytest.mark.parametrize(
    ("audited", "entered", "most"),
    [(1000, 0, "1%"), (59, 0, "5%"), (20, 0, "14%"), (10, 1, "40%"), (3, 3, "100%"), (0, 0, "–")],
)
def test_a_bound_is_rounded_up(audited: int, entered: int, most: str) -> None:
    assert Pruned("G4", 2000, audited, entered).most_in_words == most


def test_without_an_audit_there_is_no_bound() -> None:
    assert Pruned("G4", 7, 0, 0).most_wrong is None
    assert Pruned("G4", 7, 0, 0).describe() == "pruned by G4: 7 candidates, none audited"


def test_a_stated_share_is_audited_and_always_the_same() -> None:
    digests = [f"{number:016x}" for number in range(4000)]
    taken = [digest for digest in digests if Audit(0.05, "study").takes(digest)]
    assert 140 < len(taken) < 260
    assert taken == [digest for digest in digests if Audit(0.05, "study").takes(digest)]
    assert taken != [digest for digest in digests if Audit(0.05, "other").takes(digest)]
    assert not any(Audit(0.0, "study").takes(digest) for digest in digests)
    assert all(Audit(1.0, "study").takes(digest) for digest in digests)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="audit must"):
        Audit(share)
