"""Stand-ins with known answers, for what takes minutes or a device."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from nas_sv2.errors import NasError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.target import Target, fixed_plan
from nas_sv2.search.events.events import Event, Notice, SearchDescribed, TrialFinished
from nas_sv2.space.choices.search_space import Range, SearchSpace, StageChoices
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.record import Record


def small_space(depths: int = 4) -> SearchSpace:
    """A few dozen networks; `depths` × 3 × 2 × 2 of them."""
    stage = StageChoices(Range(1, depths), Range(16, 32, 8), se=(False, True))
    return SearchSpace("small", ((8,),), (stage,), Range(16, 32, 16), resolution=32, classes=10)


def latency_of(ms: float, name: str = "fake") -> Latency:
    return Latency(ms, (ms, ms), ms, "measured", f"{name}: stand-in", 50, False, "")


def evaluation_of(accuracy: float) -> Evaluation:
    return Evaluation(
        accuracy, 1 - accuracy, "fake", "0" * 16, "none@0", 0, "cpu", 0.0, 1.0, 1, 1, 1
    )


@dataclass
class FakeTarget:
    """1 ms a million multiply-adds."""

    name: str = "fake"
    provenance: Provenance = "measured"
    asked: list[str] = field(default_factory=list)
    fault: Callable[[int], NasError | KeyboardInterrupt | None] = lambda number: None

    def estimate(self, network: Network) -> Latency:
        self.asked.append(network.digest)
        if fault := self.fault(len(self.asked)):
            raise fault
        return latency_of(cost_of(lower(network)).flops / 1e6, self.name)

    @property
    def device(self) -> None:
        return None

    @property
    def batch(self) -> int:
        return 1

    @property
    def priced_runtime(self) -> None:
        return None

    def graph_of(self, network: Network) -> Graph:
        return lower(network)

    def kernel_times(self, network: Network) -> None:
        return None

    def operator_shares(self, network: Network) -> None:
        return None

    def uncovered(self, network: Network) -> Sequence[str]:
        return ()

    def identity(self) -> None:
        return None

    def with_plan(self, **changes: Any) -> Target:
        return fixed_plan(self, changes)

    def corrected(self, reference_ms: float) -> Self:
        return self

    def close(self) -> None:
        pass


@dataclass
class FakeEvaluator:
    """The more parameters, the more accurate."""

    name: ClassVar[str] = "fake"

    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    fault: Callable[[int], NasError | KeyboardInterrupt | None] = lambda number: None

    def evaluate(self, architecture: Architecture) -> Evaluation:
        self.asked.append(architecture.digest)
        if fault := self.fault(len(self.asked)):
            raise fault
        time.sleep(self.seconds)
        params = cost_of(lower(architecture)).params
        return evaluation_of(params / (params + 10_000))


@dataclass
class EventRecorder:
    """An `on_event` that remembers the events."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def outcomes(self) -> list[TrialFinished]:
        return [event for event in self.events if isinstance(event, TrialFinished)]

    @property
    def verdicts(self) -> list[str]:
        return [outcome.verdict for outcome in self.outcomes]

    @property
    def notices(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Notice)]

    @property
    def described(self) -> list[SearchDescribed]:
        return [event for event in self.events if isinstance(event, SearchDescribed)]


V2 = reference("shufflenet_v2_x0_5")


def record_of(
    accuracy: float = 0.5,
    *ms: float,
    excess: float = -0.1,
    baseline: str | None = None,
    architecture: Architecture = V2,
) -> Record:
    return Record(
        architecture,
        cost_of(lower(architecture)),
        {"flops": excess},
        {f"t{index}": latency_of(value) for index, value in enumerate(ms)},
        evaluation_of(accuracy),
        baseline,
    )
