"""The trials of a study as the sampler reads them: trained, pending and known networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas_sv2.errors import ConfigError
from nas_sv2.search.asking.candidates import Candidate, Candidates
from nas_sv2.search.loop.claim import fixed_params
from nas_sv2.studies.findings.attributes import REJECTED, RETRY_OF

Array = np.ndarray


@dataclass(frozen=True)
class History:
    """The networks of a study so far, in the order of their trials.

    Attributes:
        trained: Networks with values.
        values: The score of each and its latencies in ms, of shape (N, 1 + T).
        feasible: Whether each keeps all limits, of shape (N,).
        pending: Networks that a worker has, or that are queued.
        known: Digests of all networks that were ever asked.
    """

    trained: Sequence[Candidate]
    values: Array
    feasible: Array
    pending: Sequence[Candidate]
    known: frozenset[str]


@dataclass(frozen=True)
class HistoryReader:
    """Reads the trials of a study.

    Attributes:
        candidates: Makes the networks of stored parameters.
    """

    candidates: Candidates
    _ended: dict[int, Candidate] = field(default_factory=dict)

    def read(self, study: Study, asking: int) -> History:
        """Read all trials but `asking`, the number of the one that is to be chosen."""
        trained: dict[str, tuple[Candidate, FrozenTrial]] = {}
        pending: dict[str, Candidate] = {}
        known: set[str] = set()
        for trial in _in_order(study.get_trials(deepcopy=False)):
            found = None if trial.number == asking else self._network(trial)
            if found is None:
                continue
            digest = found.architecture.digest
            known.add(digest)
            if trial.state == TrialState.COMPLETE and REJECTED not in trial.user_attrs:
                trained.setdefault(digest, (found, trial))
            elif not trial.state.is_finished():
                pending[digest] = found
        trials = [trial for _, trial in trained.values()]
        kept = [max(trial.constraints.values(), default=0.0) <= 0 for trial in trials]
        return History(
            [candidate for candidate, _ in trained.values()],
            np.array([trial.values for trial in trials]),
            np.array(kept, dtype=bool),
            [one for digest, one in pending.items() if digest not in trained],
            frozenset(known),
        )

    def _network(self, trial: FrozenTrial) -> Candidate | None:
        """The network of a trial; None if it has none yet, or one of another space."""
        if trial.number in self._ended:
            return self._ended[trial.number]
        params: Mapping[str, Any] = fixed_params(trial) | trial.params
        try:
            found = self.candidates.at(params)
        except ConfigError:
            return None
        if trial.state.is_finished():
            self._ended[trial.number] = found
        return found


def _in_order(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Sort trials as if none had been killed: one that is asked again has its first place."""
    places: dict[int, int] = {}
    for trial in trials:
        before = trial.user_attrs.get(RETRY_OF, trial.number)
        places[trial.number] = places.get(before, before)
    return sorted(trials, key=lambda trial: places[trial.number])
