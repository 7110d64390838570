"""A candidate that went the whole way: what it is, what it costs, how long it takes, how good."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

from nas_sv2.documents import reading_stored
from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.plain_data import is_number, parse_json
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document

STOP_RULE = "stop_rule"
"""The name of the stop rule among a record's excesses.

Its excess is above 0 if the rule ended the training, and 0 if the audit let it run on. Without a
verdict of the rule it is missing."""


@dataclass(frozen=True)
class Record:
    """Everything that is known of one candidate.

    Attributes:
        architecture: The network.
        cost: Its cost on paper.
        excesses: How far it is beyond each limit of the study, as a share of it; at most 0 inside.
        latencies: By target.
        evaluation: How good it became.
        baseline: The name of the hand-designed network that it is, or None.
        foreseen: Predicted, where the stop rule ended its training: the score that the whole one
            would most likely have given. None where the score is that of a whole training.
        memory_bytes: Peak memory in the runtimes of the targets; None if no budget limits it.
        detector_flops: Multiply-adds of the whole detector with this backbone; None for a
            classifier, and in a study from before they were counted.
    """

    architecture: Architecture
    cost: Cost
    excesses: Mapping[str, float]
    latencies: Mapping[str, Latency]
    evaluation: Evaluation
    baseline: str | None = None
    foreseen: float | None = None
    memory_bytes: int | None = None
    detector_flops: int | None = None

    def __post_init__(self) -> None:
        """Refuse a figure that is not finite, before it is stored or reported.

        Raises:
            EvaluationError: There is one; names it.
        """
        figures = {**self.excesses, "score": self.evaluation.score, "foreseen": self.foreseen or 0}
        for name, value in figures.items():
            if not is_number(value):
                raise EvaluationError(
                    f"{name} of a candidate must be a finite number; got {value!r}"
                )

    @property
    def feasible(self) -> bool:
        """Whether it keeps every limit of the study."""
        return all(excess <= 0 for excess in self.excesses.values())

    @property
    def beyond_budget(self) -> list[str]:
        """The names of the limits of the budget that it breaks."""
        return [name for name, excess in self.excesses.items() if excess > 0 and name != STOP_RULE]

    @property
    def objectives(self) -> tuple[float, ...]:
        """Score (top-1 accuracy, mostly), to be maximised, then ms on each target, minimised."""
        times = (latency.ms for latency in self.latencies.values())
        return (self.evaluation.score, *times)

    @property
    def sampler_objectives(self) -> tuple[float, ...]:
        """The objectives for the sampler, with the foreseen score of a training that was ended.

        The score at its end is lower than that of a worse network that was trained to the end.
        """
        score, *times = self.objectives
        return (score if self.foreseen is None else self.foreseen, *times)

    def dominates(self, other: "Record") -> bool:
        """Whether it is at least as good in every objective, and better in one."""
        mine, others = _gains(self), _gains(other)
        return mine != others and all(a >= b for a, b in zip(mine, others, strict=True))

    def to_json(self) -> str:
        """One line that `from_json` reads back to an equal value."""
        known = {"memory_bytes": self.memory_bytes, "detector_flops": self.detector_flops}
        return json.dumps(
            {
                "architecture": architecture_to_document(self.architecture),
                "cost": dataclasses.asdict(self.cost),
                "excesses": dict(self.excesses),
                "latencies": {name: value.to_json() for name, value in self.latencies.items()},
                "evaluation": json.loads(self.evaluation.to_json()),
                "baseline": self.baseline,
                "foreseen": self.foreseen,
                **{name: value for name, value in known.items() if value is not None},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record that `to_json` wrote.

        Raises:
            StoreError: The text is not one.
        """
        with reading_stored("a stored record"):
            data = parse_json(text)
            latencies = data["latencies"].items()
            return cls(
                architecture=architecture_from_document(data["architecture"]),
                cost=Cost(**data["cost"]),
                excesses=data["excesses"],
                latencies={name: Latency.from_json(value) for name, value in latencies},
                evaluation=Evaluation.from_json(json.dumps(data["evaluation"])),
                baseline=data["baseline"],
                foreseen=data.get("foreseen"),  # records were kept before there was one
                memory_bytes=data.get("memory_bytes"),
                detector_flops=data.get("detector_flops"),
            )


def _gains(record: Record) -> tuple[float, ...]:
    score, *times = record.objectives
    return (score, *(-ms for ms in times))
