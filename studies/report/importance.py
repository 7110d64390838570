"""Which choices of the space decided accuracy and latency, and whether that can be said at all.

Functional ANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014, as Optuna has it): a forest is fitted
to the finished trials, and each parameter is given the share of the forest's variance that it
explains alone. From few trials a forest explains noise as readily, so the shares are shown only
where a forest foretells trials that it has not seen.
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
"""Finished trials below which nothing is said: the spaces have 23 parameters, and in fewer trials
hardly a pair of values of each was seen."""
MOST: Final = 400
"""Trials that are looked at, spread evenly over the study: a forest's cost grows faster than its
trials, and its answer hardly changes any more."""
LEAST_FORETOLD: Final = 0.2
"""Share of the variance of unseen trials that the forest must foretell. Of 25 studies of 30 trials
with random scores one reached it."""
TREES: Final = 32

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """What decided one objective.

    Attributes:
        objective: In words.
        trials: How many trials it is from.
        foretold: Share of the variance that trees foretell of the trials they were not fitted to
            (R² out of bag); below 0 they do worse than the mean.
        shares: Of the variance that parameters explain, by parameter, the largest first; empty
            where too little is foretold.
    """

    objective: str
    trials: int
    foretold: float
    shares: Mapping[str, float]


def importances_of(
    trials: Sequence[FrozenTrial], records: Mapping[int, Record], objectives: Sequence[str]
) -> list[Importance]:
    """What decided each objective; nothing from fewer than `FEWEST` finished trials.

    Args:
        trials: Of the study.
        records: What was found, by trial; placeholders of rejected trials have none. A training
            that was ended early is left out, for its score is not that of the others.
        objectives: Their names, in the order of `Record.objectives`.
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
    """R² of a forest on the trials that its trees did not see; 0 where all values are equal."""
    if np.ptp(values) == 0:
        return 0.0
    forest = RandomForestRegressor(n_estimators=4 * TREES, oob_score=True, random_state=0)
    return float(forest.fit(columns, values).oob_score_)


def _columns(trials: Sequence[FrozenTrial]) -> Floats:
    """The parameters as numbers, (trials, parameters): a categorical one a column a choice."""
    distributions = trials[0].distributions
    columns = []
    for name, distribution in distributions.items():
        values = [trial.params[name] for trial in trials]
        if isinstance(distribution, CategoricalDistribution):
            columns += [[value == choice for value in values] for choice in distribution.choices]
        else:
            columns.append(values)
    return np.array(columns, dtype=float).T
