"""The walk of a candidate through all checks, the cheapest first."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nas_sv2.errors import MeasurementError
from nas_sv2.evaluate.fitting.evaluator import Evaluator
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.target import Target
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.early_stop import EarlyStop, EarlyStopResult
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.guidelines import GuidelineLimits, admit
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True)
class Screen:
    """Predicted latencies in place of measured ones, as long as they decide nothing.

    Attributes:
        predicted: Predictors, by the name of the target whose measurements they replace.
        careful: Whether a latency is measured at once if its interval reaches across a limit or
            onto the front. Otherwise the front is measured after the search.
        rivals: Gives the records that a candidate is compared with to be on the front.
    """

    predicted: Mapping[str, Target] = field(default_factory=dict)
    careful: bool = True
    rivals: Callable[[], Iterable[Record]] = tuple


@dataclass(frozen=True)
class Walk:
    """The checks that a candidate passes through.

    Attributes:
        guidelines: Limits on how the network is built.
        budget: Limits on what it costs and how long it takes.
        targets: Time the candidate, by name.
        evaluator: Says how good the candidate is.
        entering: Called with the name of each slow stage.
        screen: Predictions that come before a measurement; none by default.
        early: Ends trainings that cannot lead to the front; None if all run to their end.
        counted: Gives the operators whose cost counts; those of the network by default.
        detector_flops: Gives the multiply-adds of the whole detector on a candidate; None if no
            detector is searched.
    """

    guidelines: GuidelineLimits
    budget: Budget
    targets: Mapping[str, Target]
    evaluator: Evaluator
    entering: Callable[[str], None] = lambda stage: None
    screen: Screen = field(default_factory=Screen)
    early: EarlyStop | None = None
    counted: Callable[[Architecture], Graph] = lower
    detector_flops: Callable[[Architecture], int] | None = None

    @property
    def constraints(self) -> list[str]:
        """The names of all limits; a sampler needs their values for every trial."""
        return [*self.guidelines.limits, *self.budget.constraints]

    def weigh(self, architecture: Architecture) -> tuple[Cost, dict[str, float]]:
        """The cost of `architecture`, and its excess over each limit, without running it."""
        graph = self.counted(architecture)
        limits = self.budget.excesses_of(graph)
        return cost_of(graph), self.guidelines.excesses(graph) | limits

    def assess(
        self, architecture: Architecture, baseline: str | None = None, *, unguided: bool = False
    ) -> Record:
        """Walk one candidate.

        Args:
            architecture: The candidate.
            baseline: Its name if it is a hand-designed network. Other candidates are compared
                with baselines, so they are measured and trained even beyond a limit.
            unguided: Whether it is assessed even if it breaks a guideline.

        Raises:
            Rejected: If it breaks a limit; the first one is named.
            DeviceError: If a target cannot be used any more.
            MeasurementError: If a target gives no latency.
            EvaluationError: If the evaluation gives no accuracy.
        """
        cost, excesses = self.weigh(architecture)
        if baseline or unguided:
            # Guidelines save work. Work that is done in spite of them counts by its results.
            excesses |= {name: min(0.0, excesses[name]) for name in self.guidelines.limits}
        if not baseline:
            admit(excesses)
        latencies = {}
        for name in self.targets:
            latency = None if baseline else self._predicted(name, architecture)
            latencies[name] = latency or self._timed(name, architecture)
        if not baseline:
            admit(excesses | self._excesses(latencies))
        self.entering("training")
        trained = self._trained(architecture, latencies, baseline)
        excesses |= {**self._excesses(latencies), **trained.excesses}
        record = Record(
            architecture,
            cost,
            excesses,
            latencies,
            trained.evaluation,
            baseline,
            trained.foreseen,
            self.budget.memory_of(self.counted(architecture)),
            None if self.detector_flops is None else self.detector_flops(architecture),
        )
        return self.timed(record) if self._may_reach_the_front(record) else record

    def timed(self, record: Record) -> Record:
        """Return `record` with measurements in place of predictions."""
        latencies = {
            name: self._timed(name, record.architecture) if is_predicted(latency) else latency
            for name, latency in record.latencies.items()
        }
        excesses = {**record.excesses, **self._excesses(latencies)}
        return dataclasses.replace(record, latencies=latencies, excesses=excesses)

    def _trained(
        self, architecture: Architecture, latencies: Mapping[str, Latency], baseline: str | None
    ) -> EarlyStopResult:
        """Evaluate `architecture`, under the stop rule if there is one."""
        if self.early is None or baseline:
            return EarlyStopResult(self.evaluator.evaluate(architecture))
        hoped = [_at_best(latency).ms for latency in latencies.values()]
        return self.early.evaluate(architecture, hoped)

    def _timed(self, name: str, architecture: Architecture) -> Latency:
        self.entering(f"latency on {name}")
        return self.targets[name].estimate(architecture)

    def _predicted(self, name: str, architecture: Architecture) -> Latency | None:
        """The predicted latency, or None if it has to be measured."""
        if name not in self.screen.predicted:
            return None
        try:
            latency = self.screen.predicted[name].estimate(architecture)
        except MeasurementError:  # the predictor knows no such network
            return None
        limit = self.budget.latency_ms.get(name)
        if self.screen.careful and limit is not None and latency.ci_ms is not None:
            low, high = latency.ci_ms
            if low <= limit < high:
                return None
        return latency

    def _excesses(self, latencies: Mapping[str, Latency]) -> dict[str, float]:
        return self.budget.latency_excesses({name: v.ms for name, v in latencies.items()})

    def _may_reach_the_front(self, record: Record) -> bool:
        """Whether a predicted candidate could be on the front if it were as fast as can be."""
        if not self.screen.careful or not any(map(is_predicted, record.latencies.values())):
            return False
        best = {name: _at_best(latency) for name, latency in record.latencies.items()}
        hoped = dataclasses.replace(record, latencies=best)
        return not any(rival.feasible and rival.dominates(hoped) for rival in self.screen.rivals())


def is_predicted(latency: Latency) -> bool:
    """Whether `latency` comes from a predictor."""
    return latency.provenance == "predicted"


def _at_best(latency: Latency) -> Latency:
    """`latency`, moved to the fast end of its interval if it is predicted."""
    if not is_predicted(latency) or latency.ci_ms is None:
        return latency
    return dataclasses.replace(latency, ms=latency.ci_ms[0])
