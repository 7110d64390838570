"""The walk of a candidate: the cheapest question first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas_sv2.evaluate.evaluation import Evaluator
from nas_sv2.latency.targets import Target
from nas_sv2.search.budget import Budget
from nas_sv2.space import Architecture, Cost, cost_of, lower
from nas_sv2.space.guidelines import Guidelines, admit
from nas_sv2.studies.record import Record


@dataclass(frozen=True)
class Walk:
    """Everything that is asked of a candidate.

    Attributes:
        guidelines: Limits on how the network is built.
        budget: Limits on what it costs and how long it takes.
        targets: Where it is timed, by name.
        evaluator: How good it becomes.
        entering: Called with the name of each stage that takes longer than a moment.
    """

    guidelines: Guidelines
    budget: Budget
    targets: Mapping[str, Target]
    evaluator: Evaluator
    entering: Callable[[str], None] = lambda stage: None

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

    def assess(self, architecture: Architecture, baseline: str | None = None) -> Record:
        """Walk one candidate.

        Args:
            architecture: The candidate.
            baseline: The name of the hand-designed network that it is. Baselines are what others
                are compared with, so they are measured and trained even beyond a limit.

        Raises:
            Rejected: At the first limit that it breaks.
            DeviceError: A target cannot be used any more.
            MeasurementError: A target gave no latency.
            EvaluationError: The evaluation gave no accuracy.
        """
        cost, excesses = self.weigh(architecture)
        if not baseline:
            admit(excesses)
        latencies = {}
        for name, target in self.targets.items():
            self.entering(f"latency on {name}")
            latencies[name] = target.estimate(architecture)
        times = {name: latency.ms for name, latency in latencies.items()}
        excesses |= self.budget.latency_excesses(times)
        if not baseline:
            admit(excesses)
        self.entering("training")
        evaluation = self.evaluator.evaluate(architecture)
        return Record(architecture, cost, excesses, latencies, evaluation, baseline)
