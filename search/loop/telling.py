"""Reports a trial to the sampler: its limits, its attributes and its end.

Optuna writes them one by one. If a worker dies between two, the trial stays running and is asked
again.
"""

from collections.abc import Collection, Iterable, Mapping

import optuna
from optuna.trial import Trial, TrialState

from nas_sv2.errors import Rejected
from nas_sv2.studies.findings.attributes import (
    ARCHITECTURE,
    BASELINE,
    ERROR,
    FORESEEN,
    REJECTED,
)
from nas_sv2.studies.findings.record import Record


def tell_record(
    study: optuna.Study, trial: Trial, record: Record, constraints: Iterable[str]
) -> None:
    """Report the record of a candidate."""
    _constrain(trial, constraints, record.excesses)
    trial.set_user_attr(ARCHITECTURE, record.architecture.digest)
    trial.set_user_attr(BASELINE, record.baseline)
    if record.foreseen is not None:
        trial.set_user_attr(FORESEEN, record.foreseen)
    study.tell(trial, record.told)


def tell_rejected(
    study: optuna.Study,
    trial: Trial,
    verdict: Rejected,
    constraints: Iterable[str],
    seen: Collection[Record],
) -> None:
    """Report the limits that a candidate broke.

    Args:
        study: The study of the trial.
        trial: The trial of the candidate.
        verdict: The broken limits.
        constraints: The names of all limits.
        seen: The records so far, if the sampler learns from complete trials alone. Their worst
            values become those of this trial. Empty if the sampler learns from pruned trials.
    """
    _constrain(trial, constraints, verdict.excesses)
    trial.set_user_attr(REJECTED, str(verdict))
    if not seen:
        study.tell(trial, state=TrialState.PRUNED)
        return
    accuracies, *times = zip(*(record.told for record in seen), strict=True)
    study.tell(trial, [min(accuracies), *map(max, times)])


def tell_failed(
    study: optuna.Study, trial: Trial, reason: str, constraints: Iterable[str]
) -> None:
    """Report that a candidate gave no values, with the reason."""
    _constrain(trial, constraints, {})
    trial.set_user_attr(ERROR, reason)
    study.tell(trial, state=TrialState.FAIL)


def _constrain(trial: Trial, names: Iterable[str], excesses: Mapping[str, float]) -> None:
    """Set all limits, since samplers need the same ones on every trial.

    A limit that was not checked counts as kept.
    """
    for name in names:
        trial.set_constraint(name, excesses.get(name, 0.0))
