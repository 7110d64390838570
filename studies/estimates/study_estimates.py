"""The fused estimates of a study's candidates, and their chances against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.estimates.accuracy_model import Array
from nas_sv2.studies.estimates.features import features
from nas_sv2.studies.estimates.fusion import Fused, fuse
from nas_sv2.studies.estimates.latency_model import LatencyModel, counts
from nas_sv2.studies.estimates.other_study import FEWEST, OtherStudy, trained_score
from nas_sv2.studies.findings.certificate import Certificate, ScoredNetwork
from nas_sv2.studies.findings.fused_estimate import Estimates, FusedEstimate
from nas_sv2.studies.findings.record import Record

SURE = 0.95
"""The chance from which one network counts as better than another; below it they tie."""
DRAWS = 500  # of all candidates together: a chance is right within 0.05


@dataclass(frozen=True)
class StudyEstimates:
    """The estimates of a study, whose networks are in the order of its records.

    Attributes:
        by_trial: The estimate of each candidate, by trial.
        scored_by: The score that they are of.
        longer: The number of longer trainings that decided the weights. If it is 0, the scale is
            that of the recipe's own scores.
        of: The longer training, in words.
        informed: The trainings of another study that inform the estimates, in words, or empty.
    """

    by_trial: Estimates
    scored_by: str
    longer: int
    of: str
    informed: str
    _places: Mapping[int, int]
    _fused: Fused

    def chance_better(self, ours: int, theirs: int) -> float:
        """Return the chance that a longer training of trial `ours` is better than `theirs`."""
        return self._fused.chance_better(self._places[ours], self._places[theirs])

    def describe(self) -> str:
        """Say in one line what the estimates are of and what they rest on."""
        if not self.longer:
            return (
                f"expected: of a longer training, on the scale of this recipe's {self._score}, "
                "90 % interval; training and log ms weigh equally" + self.informed
            )
        return (
            f"expected: {self._score} of {self.of}, 90 % interval; weights of training and log "
            f"ms from {self.longer} longer trainings of the certificate" + self.informed
        )

    @property
    def _score(self) -> str:
        return facts_of(self.scored_by).name


def estimate_study(
    records: Mapping[int, Record],
    certificate: Certificate | None,
    other: OtherStudy | None = None,
) -> StudyEstimates | None:
    """Estimate the candidates of a study; None for fewer than `FEWEST` trainings by a recipe.

    A training that the stop rule ended counts by the score that it foretold. The scores of an
    evaluator that does not train stand for themselves.

    Args:
        records: The records of the study, by trial.
        certificate: The certificate of their recipe and data, or None; it has longer trainings.
        other: The study that this one was begun from, or None; its trainings inform.
    """
    scores = np.array([trained_score(record) for record in records.values()], dtype=float)
    known = scores[~np.isnan(scores)]
    if len(known) < FEWEST or np.ptp(known) == 0:
        return None
    first = next(iter(records.values()))
    certified = [] if certificate is None else _comparable(certificate, first.architecture)
    rows = np.array([features(record.architecture, record.cost) for record in records.values()])
    log_ms: Array = np.log([record.objectives[1:] for record in records.values()]).mean(axis=1)
    if certified:
        networks = [one.architecture for one in certified]
        more, more_log_ms = _at_latencies_of(networks, records, rows, log_ms)
        rows, log_ms = np.vstack([rows, more]), np.append(log_ms, more_log_ms)
    informing = None if other is None else other.model(first.architecture)
    fused = fuse(
        rows,
        log_ms,
        np.append(scores, [one.score for one in certified]),
        np.append(np.full(len(scores), np.nan), [one.truth for one in certified]),
        informing,
    )
    scored_by, of = first.evaluation.scored_by, ""
    if certificate is not None and fused.longer:
        scored_by, of = certificate.reference_scored_by, certificate.against
    return StudyEstimates(
        _by_trial(records, fused, scored_by),
        scored_by,
        fused.longer,
        of,
        "" if other is None else f"; {other.describe(informing)}",
        {number: place for place, number in enumerate(records)},
        fused,
    )


def _comparable(certificate: Certificate, like: Architecture) -> list[ScoredNetwork]:
    """Return the networks of the study's resolution and number of stages."""
    form = like.resolution, len(like.stages)
    every = ((one.architecture, one) for one in certificate.networks)
    return [one for each, one in every if (each.resolution, len(each.stages)) == form]


def _at_latencies_of(
    networks: Sequence[Architecture], records: Mapping[int, Record], rows: Array, log_ms: Array
) -> tuple[Array, Array]:
    """Return the features of other networks, and their mean log ms by a model of the study's.

    Args:
        networks: The networks, which nothing has timed.
        records: The records of the study.
        rows: The features of its networks.
        log_ms: Their mean log ms.
    """
    graphs = [lower(each) for each in (*(one.architecture for one in records.values()), *networks)]
    costs = [cost_of(graph) for graph in graphs]
    counted = np.array([counts(*each) for each in zip(graphs, costs, strict=True)])
    own = len(records)
    model = LatencyModel.fitted(counted[:own], rows, np.exp(log_ms))
    more = np.array([features(*each) for each in zip(networks, costs[own:], strict=True)])
    return more, model.log_ms_at(counted[own:], more)


def _by_trial(
    records: Mapping[int, Record], fused: Fused, scored_by: str
) -> dict[int, FusedEstimate]:
    count = len(records)
    mean, deviation = fused.mean[:count], fused.deviation[:count]
    drawn = fused.drawn(count, DRAWS)
    times = np.array([record.objectives[1:] for record in records.values()])
    feasible = np.array([record.feasible for record in records.values()])
    baseline = np.array([record.baseline is not None for record in records.values()])
    found = {}
    for place, number in enumerate(records):
        as_fast = (times <= times[place]).all(axis=1)
        as_fast[place] = False
        slower = baseline & (times >= times[place]).all(axis=1)
        slower[place] = False
        own, reach = drawn[place], fused.reach * deviation[place]
        found[number] = FusedEstimate(
            float(mean[place]),
            float(mean[place] - reach),
            float(mean[place] + reach),
            float(feasible[place]) * _chance(own, drawn[as_fast & feasible], any_of=False),
            _chance(own, drawn[slower], any_of=True) if slower.any() else None,
            scored_by,
        )
    return found


def _chance(own: Array, others: Array, *, any_of: bool) -> float:
    """Return how often `own` is better than any, or than all, of the others."""
    if not len(others):
        return 1.0
    bound = others.min(axis=0) if any_of else others.max(axis=0)
    return float((own > bound).mean())
