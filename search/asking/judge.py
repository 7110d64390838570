"""Judges networks by a study so far: their scores, their latencies, the growth of the front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from nas_sv2.search.asking.candidates import Candidate
from nas_sv2.search.asking.history import History
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.fusion import latency_credit
from nas_sv2.studies.estimates.improvement import (
    Estimates,
    Reference,
    expected_improvement,
    non_dominated,
)
from nas_sv2.studies.estimates.latency_model import LatencyModel

Array = np.ndarray

QUANTILE = 0.05
"""Share of the drawn networks beyond each side of the hypervolume.

Without an end on the fast side, a search would leave the range of its space: a network that is
faster by a tenth adds as much as one that is far better. With several targets that are alike, it
would add their power."""
NARROWEST = float(np.log(2))
"""Least distance of the slow side from the fast side, where a limit on latency is narrow."""
COVERING = 8
"""Finished candidates that cover the space, before models choose."""
LEARNT = 1.1
"""Growth of the trainings after which the kernel of the model is fitted again."""


def features_of(candidates: Sequence[Candidate]) -> Array:
    """Return the features of networks, of shape (N, F)."""
    return np.array([one.features for one in candidates])


def counts_of(candidates: Sequence[Candidate]) -> Array:
    """Return the counts of networks, of shape (N, C)."""
    return np.array([one.counted for one in candidates])


@dataclass
class Learning:
    """Fits the model of accuracy, with a kernel that is fitted again now and then.

    The trainings that a kernel is fitted to follow from their number alone, so that a resumed
    study has the same kernel.

    Attributes:
        informing: The model of another study, or None.
    """

    informing: AccuracyModel | None = None
    _fitted_to: Sequence[str] = ()
    _kernel: AccuracyModel | None = None

    def model(self, history: History) -> AccuracyModel:
        """Return the model of all trainings, and of pending ones at the score expected of them."""
        count = COVERING
        while count * LEARNT < len(history.trained):
            count = int(np.ceil(count * LEARNT))
        first = [one.architecture.digest for one in history.trained[:count]]
        features, scores = features_of(history.trained), history.values[:, 0]
        if self._kernel is None or first != self._fitted_to:
            self._kernel = AccuracyModel.fitted(features[:count], scores[:count], self.informing)
            self._fitted_to = first
        model = self._kernel.with_trainings(features, scores)
        if not history.pending:
            return model
        pending = features_of(history.pending)
        expected = np.concatenate([scores, model.at(pending)[0]])
        return self._kernel.with_trainings(np.vstack([features, pending]), expected)


@dataclass(frozen=True)
class Judge:
    """Estimates networks, and by how much they would make the front grow.

    Attributes:
        accuracy: The model of accuracy.
        latencies: The models of latency, in the order of the targets.
        front: Networks on the front, in trial order, pending ones among them.
        present: Their estimates, with the scores of longer trainings.
        reference: The corner of the hypervolume.
        credit: Growth of a longer training's score by a unit of the mean log ms.
        least_log_ms: The fast side by target, in logarithms of ms; faster networks count as it.
    """

    accuracy: AccuracyModel
    latencies: Sequence[LatencyModel]
    front: Sequence[Candidate]
    present: Estimates
    reference: Reference
    credit: float
    least_log_ms: Array

    @classmethod
    def of(
        cls,
        accuracy: AccuracyModel,
        latencies: Mapping[str, LatencyModel],
        history: History,
        drawn: Sequence[Candidate],
        limits_ms: Mapping[str, float],
        fused: bool = False,
    ) -> Self:
        """Return the judge after the trials of a study.

        Args:
            accuracy: The model of accuracy.
            latencies: The model of latency of each target.
            history: The trials.
            drawn: Networks of the whole space; the corner lies at the edge of them.
            limits_ms: Limits on latency by target; beyond one, nothing counts.
            fused: Whether the score of a longer training counts, as in the estimates of a study.
        """
        credit = 0.0
        if fused:
            expected = accuracy.at(features_of(history.trained))[0]
            credit = latency_credit(expected, np.log(history.values[:, 1:]).mean(axis=1))
        models = list(latencies.values())
        entries = [
            one for one, kept in zip(history.trained, history.feasible, strict=True) if kept
        ]
        log_ms = np.log(history.values[history.feasible, 1:])
        if history.pending:
            entries += history.pending
            log_ms = np.vstack([log_ms, _log_ms(models, history.pending)])
        of_drawn = _log_ms(models, drawn)
        least, far = np.quantile(of_drawn, [QUANTILE, 1 - QUANTILE], axis=0)
        far = np.minimum(far, [np.log(limits_ms.get(name, np.inf)) for name in latencies])
        least = np.minimum(least, far - NARROWEST)
        score = np.zeros(0)
        if entries:
            score = accuracy.at(features_of(entries))[0] + credit * log_ms.mean(axis=1)
        log_ms = np.maximum(log_ms, least)
        kept = np.flatnonzero(non_dominated(score, log_ms))
        present = Estimates(score, np.zeros_like(score), log_ms, np.zeros_like(log_ms)).of(kept)
        longer = accuracy.at(features_of(drawn))[0] + credit * of_drawn.mean(axis=1)
        reference = Reference(float(np.quantile(longer, QUANTILE)), far)
        return cls(
            accuracy, models, [entries[one] for one in kept], present, reference, credit, least
        )

    def estimates(self, candidates: Sequence[Candidate]) -> Estimates:
        """Estimate networks from their features and counts; the scores are the recipe's."""
        mean, deviation = self.accuracy.at(features_of(candidates))
        log_ms = _log_ms(self.latencies, candidates)
        uncertain = np.tile([one.deviation for one in self.latencies], (len(candidates), 1))
        return Estimates(mean, deviation, log_ms, uncertain)

    def growth(self, estimates: Estimates) -> Array:
        """Return by how much each network would make the hypervolume of the front grow."""
        longer = replace(
            estimates,
            score=estimates.score + self.credit * estimates.log_ms.mean(axis=1),
            log_ms=np.maximum(estimates.log_ms, self.least_log_ms),
        )
        return expected_improvement(longer, self.present, self.reference)


def _log_ms(models: Sequence[LatencyModel], candidates: Sequence[Candidate]) -> Array:
    counted, features = counts_of(candidates), features_of(candidates)
    return np.column_stack([one.log_ms_at(counted, features) for one in models])
