"""Trainings of a search that are ended once the stop rule says so."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.evaluation import Epoch, Evaluation, StoppableEvaluator
from nas_sv2.evaluate.recipes import Recipe
from nas_sv2.latency.measurement import Latency
from nas_sv2.search.audit import Audit
from nas_sv2.search.stop_rule import FEWEST, Course, FinalBound, Rival, StopRule
from nas_sv2.space import Architecture
from nas_sv2.studies.record import Record
from nas_sv2.studies.record_store import RecordStore
from nas_sv2.studies.stop_audit import STOP_RULE

SHARE = 0.1
"""Of the trainings that the rule would end, those that run on: a tenth of what it could save."""


def check_stop_rule(mode: str, recipe: Recipe) -> None:
    """Refuse what cannot be meant.

    Raises:
        ConfigError: Neither `on` nor `off`, or `on` with a recipe of a single pass.
    """
    if mode not in ("on", "off"):
        raise ConfigError("--stop-rule", mode, "on or off")
    if mode == "on" and recipe.epochs < 2:
        allowed = f"off with recipe {recipe.name}: it ends after a pass, and there is only one"
        raise ConfigError("--stop-rule", mode, allowed)


@dataclass(frozen=True)
class EarlyStop:
    """Trains, and ends what cannot lead to the front.

    Attributes:
        evaluator: What trains.
        records: What the study has found so far.
        audit: Which trainings run on though the rule would end them.
    """

    evaluator: StoppableEvaluator
    records: Callable[[], Iterable[Record]]
    audit: Audit

    DESCRIBED: ClassVar[str] = (
        f"stops     trainings that cannot lead to the front any more, once {FEWEST} are finished; "
        f"{SHARE:.0%} of them run on as an audit"
    )

    @classmethod
    def of(cls, evaluator: StoppableEvaluator, store: RecordStore) -> "EarlyStop":
        """For the study of `store`, with our share of audits."""
        return cls(evaluator, lambda: store.all().values(), Audit(SHARE, f"stop {store.study}"))

    def evaluate(
        self, architecture: Architecture, latencies_ms: Sequence[float]
    ) -> tuple[Evaluation, dict[str, float]]:
        """How good `architecture` is, and the rule's excess of its record (`STOP_RULE`).

        Args:
            architecture: The candidate.
            latencies_ms: On each target, in the order of the study's.
        """
        rule = rule_of(self.records())
        said: dict[str, float] = {}

        def stops(passed: int, epoch: Epoch) -> str | None:
            if said:  # it runs on
                return None
            reason = rule.verdict(passed, signals_of(epoch), latencies_ms)
            if reason is None:
                return None
            audited = self.audit.takes(architecture.digest)
            said[STOP_RULE] = 0.0 if audited else 1.0
            return None if audited else reason

        return self.evaluator.evaluate(architecture, stops), said


def signals_of(epoch: Epoch) -> tuple[float, ...]:
    """What the rule goes by: see `docs/stop-rule.md` for what foretells the final score best."""
    return (epoch.train_loss,)


def rule_of(records: Iterable[Record]) -> StopRule:
    """The rule by what a study has found so far."""
    known = list(records)
    courses = tuple(
        Course(tuple(map(signals_of, one.evaluation.history)), one.evaluation.score)
        for one in known
        if one.evaluation.stopped is None and len(one.evaluation.history) > 1
    )
    rivals = tuple(
        Rival(one.evaluation.score, tuple(map(_at_worst, one.latencies.values())))
        for one in known
        if one.feasible
    )
    return StopRule(FinalBound(courses), rivals)


def _at_worst(latency: Latency) -> float:
    """Its ms, or the slow end of its interval where it is predicted and may be measured yet."""
    if latency.provenance != "predicted" or latency.ci_ms is None:
        return latency.ms
    return latency.ci_ms[1]
