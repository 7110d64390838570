"""The walk of a candidate: the cheapest question first."""

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
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True)
class Screen:
    """Predicted latencies in place of measured ones, as long as they decide nothing.

    Attributes:
        predicted: By the target whose measurements they stand for.
        careful: Whether a figure whose interval reaches across a limit, or onto the front, is
            measured at once; else what the front needs is measured when the search is over.
        rivals: What a candidate has to stand beside to be on the front.
    """

    predicted: Mapping[str, Target] = field(default_factory=dict)
    careful: bool = True
    rivals: Callable[[], Iterable[Record]] = tuple


@dataclass(frozen=True)
class Walk:
    """Everything that is asked of a candidate.

    Attributes:
        guidelines: Limits on how the network is built.
        budget: Limits on what it costs and how long it takes.
        targets: Where it is timed, by name.
        evaluator: How good it becomes.
        entering: Called with the name of each stage that takes longer than a moment.
        screen: What is asked before it is timed; by default nothing.
        early: Ends trainings that cannot lead to the front; None where all run to their end.
    """

    guidelines: GuidelineLimits
    budget: Budget
    targets: Mapping[str, Target]
    evaluator: Evaluator
    entering: Callable[[str], None] = lambda stage: None
    screen: Screen = field(default_factory=Screen)
    early: EarlyStop | None = None

    @property
    def constraints(self) -> list[str]:
        """The names of all limits: what a sampler must be told of every trial."""
        return [*self.guidelines.limits, *self.budget.constraints]

    def weigh(self, architecture: Architecture) -> tuple[Cost, dict[str, float]]:
        """What is known without running anything: cost, and how far each limit is exceeded."""
        graph = lower(architecture)
        cost = cost_of(graph)
        limits = self.budget.cost_excesses(flops=cost.flops, params=cost.params)
        return cost, self.guidelines.excesses(graph) | limits

    def assess(
        self, architecture: Architecture, baseline: str | None = None, *, unguided: bool = False
    ) -> Record:
        """Walk one candidate.

        Args:
            architecture: The candidate.
            baseline: The name of the hand-designed network that it is. Baselines are what others
                are compared with, so they are measured and trained even beyond a limit.
            unguided: Whether the guidelines turn nobody away.

        Raises:
            Rejected: At the first limit that it breaks.
            DeviceError: A target cannot be used any more.
            MeasurementError: A target gave no latency.
            EvaluationError: The evaluation gave no accuracy.
        """
        cost, excesses = self.weigh(architecture)
        if baseline or unguided:
            # Guidelines spare work. What is done all the same counts by what comes out.
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
        )
        return self.timed(record) if self._may_reach_the_front(record) else record

    def timed(self, record: Record) -> Record:
        """`record` with measurements in place of predictions."""
        latencies = {
            name: self._timed(name, record.architecture) if is_predicted(latency) else latency
            for name, latency in record.latencies.items()
        }
        excesses = {**record.excesses, **self._excesses(latencies)}
        return dataclasses.replace(record, latencies=latencies, excesses=excesses)

    def _trained(
        self, architecture: Architecture, latencies: Mapping[str, Latency], baseline: str | None
    ) -> EarlyStopResult:
        """How good it is, and what the stop rule says of that."""
        if self.early is None or baseline:
            return EarlyStopResult(self.evaluator.evaluate(architecture))
        hoped = [_at_best(latency).ms for latency in latencies.values()]
        return self.early.evaluate(architecture, hoped)

    def _timed(self, name: str, architecture: Architecture) -> Latency:
        self.entering(f"latency on {name}")
        return self.targets[name].estimate(architecture)

    def _predicted(self, name: str, architecture: Architecture) -> Latency | None:
        """The predicted latency, or None where it has to be measured."""
        if name not in self.screen.predicted:
            return None
        try:
            latency = self.screen.predicted[name].estimate(architecture)
        except MeasurementError:  # the predictor never saw the like
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
    """Whether the figure comes from a predictor."""
    return latency.provenance == "predicted"


def _at_best(latency: Latency) -> Latency:
    """A predicted figure at the fast end of its interval."""
    if not is_predicted(latency) or latency.ci_ms is None:
        return latency
    return dataclasses.replace(latency, ms=latency.ci_ms[0])
