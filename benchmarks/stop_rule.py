"""What the stop rule saves and loses, on recorded trainings that ran to their end.

    python benchmarks/stop_rule.py                  # 152 trainings on Fashion-MNIST
    python benchmarks/stop_rule.py --table seen     # the half of the table to choose by
    python benchmarks/stop_rule.py --table unseen   # the half to quote

Searches are drawn from the recorded trainings in a random order, and compared with training all
of them to the end. `pause` judges alike, and takes a stopped training up again if it promises
more than a new candidate (freeze-thaw; Swersky et al., arXiv 1406.3896). The product has no
pauses. A training's time is as FLOPs to the power 0.6.

The loss of hypervolume is that of the front of scores and logarithms of latency. The scores are
those expected of longer trainings: final scores, and log ms with its credit. Standard
errors are over orders, which share their networks, so that they are too small.
"""

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from truth_table import read_table

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.early_stop import (
    FEWEST,
    GIVEN_UP,
    SHARE,
    FinalModel,
    LearningCurve,
    Rival,
    StopRule,
    log_flops,
    make_curve,
)
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.studies.estimates.fusion import latency_credit

COST = 0.6
BEGIN = 0.2
"""A paused search begins a new candidate if a paused one promises less than this share, divided
by the number of candidates."""


@dataclass(frozen=True)
class Training:
    """A recorded training that ran to its end.

    Attributes:
        curve: Its signals and its final score.
        ms: The latency of its network on the emulated Cortex-A57.
    """

    curve: LearningCurve
    ms: float

    @property
    def passes(self) -> int:
        """Its passes."""
        return len(self.curve.signals)

    @property
    def cost(self) -> float:
        """Its time, in proportion."""
        return math.exp(COST * self.curve.signals[0][1])

    @property
    def rival(self) -> Rival:
        """Its network, finished."""
        return Rival(self.curve.final or 0.0, (self.ms,))

    def after(self, passes: int) -> LearningCurve:
        """The training, stopped after some passes."""
        return LearningCurve(self.curve.signals[:passes], None)


def rule_after(
    finished: Sequence[Training], begun: Sequence[LearningCurve], count: int
) -> StopRule:
    """Return the rule of a search of `count` after these trainings."""
    curves = (*(one.curve for one in finished), *begun)
    rivals = tuple(one.rival for one in finished)
    return StopRule(FinalModel(curves, "cross_entropy"), rivals, count, len(curves[0].signals))


def stopping(order: Sequence[Training]) -> tuple[float, list[Training]]:
    """Run a search with the stop rule; the time spent, and the trainings that ran to their end."""
    finished, stopped, spent = list[Training](), list[LearningCurve](), 0.0
    audit = Audit(SHARE, "replay")
    for one in order:
        last = one.passes
        if finished and not audit.takes(f"{one.curve.final} {one.ms}"):
            rule = rule_after(finished, stopped, len(order))
            for passes in range(one.passes - 1, 0, -1):
                if rule.verdict(passes, one.curve.signals[passes - 1], (one.ms,)):
                    last = passes
        spent += one.cost * last / one.passes
        if last == one.passes:
            finished.append(one)
        else:
            stopped.append(one.after(last))
    return spent, finished


def pausing(order: Sequence[Training]) -> tuple[float, list[Training]]:
    """Run a search that pauses; the time spent, and the trainings that ran to their end."""
    queue, done, finished, spent = list(order), dict[int, int](), list[Training](), 0.0
    present: int | None = None
    while True:
        begun = {n: passes for n, passes in done.items() if passes < order[n].passes}
        if len(finished) >= FEWEST or not begun:
            present = _most_promising(order, finished, begun, bool(queue))
        if present is None:
            if not queue:
                return spent, finished
            queue.pop(0)
            present = len(order) - len(queue) - 1
        done[present] = done.get(present, 0) + 1
        spent += order[present].cost / order[present].passes
        if done[present] == order[present].passes:
            finished.append(order[present])


def _most_promising(
    order: Sequence[Training], finished: Sequence[Training], begun: dict[int, int], more: bool
) -> int | None:
    """The training to go on with, or None for a new one."""
    best, promised = None, 0.0
    for n, passes in begun.items() if finished else ():
        one = order[n]
        others = [order[k].after(done) for k, done in begun.items() if k != n]
        rule = rule_after(finished, others, len(order))
        score, deviation = rule.model.at(passes, one.curve.signals[passes - 1])
        growth = rule.growth(score, deviation, (one.ms,))
        rate = growth / (one.cost * (one.passes - passes))
        if growth > (BEGIN if more else GIVEN_UP) / len(order) and rate > promised:
            best, promised = n, rate
    return best


POLICIES: dict[str, Callable[[Sequence[Training]], tuple[float, list[Training]]]] = {
    "stop": stopping,
    "pause": pausing,
}


def hypervolume(trainings: Collection[Training], order: Sequence[Training]) -> float:
    """The area of the front before the slowest and the worst network of a search."""
    scores, log_ms = np.array([(one.rival.score, math.log(one.ms)) for one in order]).T
    credit = latency_credit(scores, log_ms)
    last = float(log_ms.max())
    level = floor = float((scores + credit * log_ms).min())
    volume = 0.0
    for one in sorted(trainings, key=lambda each: each.ms):
        longer = one.rival.score + credit * math.log(one.ms)
        if longer > level:
            volume += (last - math.log(one.ms)) * (longer - level)
            level = longer
    return volume if level > floor else 0.0


def recorded(network: Architecture, evaluation: Evaluation, ms: float) -> Training:
    """Make a training of what was recorded."""
    return Training(make_curve(evaluation, log_flops(network)), ms)


def of_curves(path: Path) -> list[Training]:
    """Read a file of `benchmarks/curves`, with latencies on the emulated A57."""
    target, found = TargetBook.read().open("arm"), {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        network = architecture_from_document(row["architecture"])
        evaluation = Evaluation.from_json(json.dumps(row["evaluation"]))
        if evaluation.seed == 0 and evaluation.stopped is None:
            found[network.digest] = recorded(network, evaluation, target.estimate(network).ms)
    return list(found.values())


def of_table(half: str) -> list[Training]:
    """Read a half of the table of truth, with its latencies on the emulated A57."""
    return [
        recorded(each.architecture, each.short[0], each.latencies_ms["arm"])
        for each in read_table()
        if each.is_unseen == (half == "unseen")
        and 0 in each.short
        and each.short[0].stopped is None
    ]


def main() -> None:
    """Print the share of training time that is saved, and of the hypervolume that is lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", choices=["seen", "unseen"])
    parser.add_argument(
        "--curves", type=Path, default=Path(__file__).parent / "curves/random.jsonl"
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[24, 56, 100])
    parser.add_argument("--orders", type=int, default=30)
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=["stop"])
    asked = parser.parse_args()
    known = of_table(asked.table) if asked.table else of_curves(asked.curves)
    print(f"{len(known)} trainings of {known[0].passes} passes, {asked.orders} orders")
    print("candidates  rule   saved     hypervolume lost    finished")
    for count in (each for each in asked.candidates if each <= len(known)):
        for name in asked.policies:
            saved, lost, finished = [], [], []
            for seed in range(asked.orders):
                order = random.Random(seed).sample(known, count)
                spent, whole = POLICIES[name](order)
                saved.append(1 - spent / sum(one.cost for one in order))
                lost.append(1 - hypervolume(whole, order) / hypervolume(order, order))
                finished.append(len(whole))
            error = float(np.std(lost)) / len(lost) ** 0.5
            print(
                f"{count:10}  {name:5}  {statistics.fmean(saved):5.1%}   "
                f"{statistics.fmean(lost):8.2%} ± {error:.2%}    "
                f"{statistics.fmean(finished):8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
