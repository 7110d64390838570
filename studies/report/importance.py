"""Find the choices of the space that decided accuracy and latency, if the trials show it.

The method is functional ANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) as in Optuna. A forest
is fitted to the finished trials. Each parameter gets the share of the forest's variance that it
explains alone. With few trials a forest also explains noise, so the shares are shown only if a
forest predicts trials that it has not seen.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial
from sklearn.ensemble import RandomForestRegressor

from nas_sv2.studies.findings.record import Record

FEWEST: Final = 30
"""The fewest finished trials.

The spaces have 23 parameters; fewer trials hardly show two values of each."""
MOST: Final = 400
"""The most trials that are used, spread evenly over the study.

A forest's cost grows faster than the number of trials, and its answer hardly changes."""
LEAST_FORETOLD: Final = 0.2
"""The share of the variance of unseen trials that the forest must predict.

Of 25 studies of 30 trials with random scores, one reached it."""
TREES: Final = 32

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """The importance of the parameters for one objective.

    Attributes:
        objective: The objective in words.
        trials: Number of trials used.
        foretold: Share of the variance that trees predict of the trials they were not fitted to
            (R² out of bag); below 0 they do worse than the mean.
        shares: Share of the variance that each parameter explains, the largest first; empty if
            `foretold` is too low.
    """

    objective: str
    trials: int
    foretold: float
    shares: Mapping[str, float]


def importances_of(
    trials: Sequence[FrozenTrial], records: Mapping[int, Record], objectives: Sequence[str]
) -> list[Importance]:
    """Find the importances for each objective; empty for fewer than `FEWEST` finished trials.

    Args:
        trials: The trials of the study.
        records: The records by trial; rejected trials have none. Trainings that were stopped
            early are left out, because their scores are not comparable.
        objectives: The names of the objectives, in the order of `Record.objectives`.
    """
    usable = [
        trial
        for trial in trials
        if trial.number in records and records[trial.number].evaluation.stopped is None
    ]
    if len(usable) < FEWEST:
        return []
    kept = [usable[i] for i in np.linspace(0, len(usable) - 1, min(len(usable), MOST)).astype(int)]
    study = optuna.create_study(directions=["minimize"] * len(objectives))
    for trial in kept:
        values = list(records[trial.number].objectives)
        study.add_trial(
            optuna.create_trial(
                params=trial.params, distributions=trial.distributions, values=values
            )
        )
    return [_importance(study, index, name) for index, name in enumerate(objectives)]


def _importance(study: optuna.Study, index: int, objective: str) -> Importance:
    trials = study.get_trials(deepcopy=False)
    values = np.array([trial.values[index] for trial in trials])
    foretold = _foretold(_columns(trials), values)
    if foretold < LEAST_FORETOLD:
        return Importance(objective, len(trials), foretold, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = optuna.importance.get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0),
            target=lambda trial: float(trial.values[index]),
        )
    return Importance(objective, len(trials), foretold, shares)


def _foretold(columns: Floats, values: Floats) -> float:
    """Return R² of a forest on the trials that its trees did not see; 0 for equal values."""
    if np.ptp(values) == 0:
        return 0.0
    forest = RandomForestRegressor(n_estimators=4 * TREES, oob_score=True, random_state=0)
    return float(forest.fit(columns, values).oob_score_)


def _columns(trials: Sequence[FrozenTrial]) -> Floats:
    """Return the parameters as numbers `(trials, columns)`, with a column for each category."""
    distributions = trials[0].distributions
    columns = []
    for name, distribution in distributions.items():
        values = [trial.params[name] for trial in trials]
        if isinstance(distribution, CategoricalDistribution):
            columns += [[value == choice for value in values] for choice in distribution.choices]
        else:
            columns.append(values)
    return np.array(columns, dtype=float).T
