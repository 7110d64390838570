"""What pausing trainings would save and lose, on recorded trainings that ran to their end.

A training is paused after a pass once it promises little, and taken up again if it promises more
than a new candidate (freeze-thaw; Swersky et al., arXiv 1406.3896). Its promise is the expected
growth of the front's hypervolume (score, latency) by its final score, as a share of the
hypervolume. While candidates are left to begin, it has to exceed `BEGIN` / N, and later `END` / N
for a search of N. So the sum of all that is given up stays near `END`.

The final score is foreseen by a line through the score's signal after the pass and log FLOPs, with
priors of its slopes and its noise, so that two finished trainings suffice. The signal is the
validation loss, or the training loss if not every pass was validated.

    python benchmarks/pause_replay.py                  # 152 trainings on Fashion-MNIST
    python benchmarks/pause_replay.py --table seen     # the half of the table to choose by
    python benchmarks/pause_replay.py --table unseen   # the half to quote

Searches are drawn from the recorded trainings in a random order, and compared with training all
of them to the end. Beside pausing stand today's stop rule, and `kill`, which never takes a paused
training up again. The priors, `BEGIN` and `END` were chosen on the 152 trainings.
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
from numpy.typing import NDArray
from scipy.stats import norm
from truth_table import read_table

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.early_stop import (
    FinalBound,
    LearningCurve,
    Rival,
    StopRule,
    log_flops,
    miss_beside,
)
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document

Array = NDArray[np.float64]

BEGIN, END = 0.2, 0.02
FIRST = 2
"""Trainings that always run to their end, as baselines do."""
SLOPES, SLOPE_SPREAD = (0.7, 0.15), 0.3
"""Prior of the line's slopes for the signal and log FLOPs, in deviations, and its spread."""
NOISE, NOISE_WEIGHT = 0.35, 4
"""Prior of the line's residuals in deviations, which counts as much as so many trainings."""
FINAL_SPREAD = 0.6
"""Prior of the deviation of final scores, as a share of that of the signal."""
COST = 0.6
"""A training's time is as FLOPs to this power; the recorded ones depend on other programs."""


@dataclass(frozen=True)
class Recorded:
    """Trainings that ran to their end.

    Attributes:
        signals: A loss after each pass, (N, passes).
        finals: Final scores, higher is better, (N,).
        sizes: Log FLOPs, (N,).
        ms: Latencies, (N,).
    """

    signals: Array
    finals: Array
    sizes: Array
    ms: Array

    @classmethod
    def of(cls, trainings: Sequence[tuple[Architecture, Evaluation, float]]) -> "Recorded":
        """Take networks with their trainings and latencies."""
        passes = [
            [
                (epoch.train_loss if epoch.loss is None else epoch.loss)
                for epoch in evaluation.history
            ]
            for _, evaluation, _ in trainings
        ]
        if not all(epoch.loss for _, each, _ in trainings for epoch in each.history):
            passes = [[epoch.train_loss for epoch in each.history] for _, each, _ in trainings]
        return cls(
            np.array(passes),
            np.array([-float(each.loss or math.nan) for _, each, _ in trainings]),
            np.array([log_flops(network) for network, _, _ in trainings]),
            np.array([ms for *_, ms in trainings]),
        )

    @property
    def passes(self) -> int:
        """Passes of a whole training."""
        return int(self.signals.shape[1])

    @property
    def costs(self) -> Array:
        """The times of the whole trainings, in proportion."""
        return np.exp(COST * self.sizes)


@dataclass(frozen=True)
class Front:
    """The best score at each latency, and its hypervolume beyond a reference point."""

    starts: Array
    ends: Array
    scores: Array
    floor: float

    @classmethod
    def of(cls, known: Recorded, members: Collection[int], worst: tuple[float, float]) -> "Front":
        """Make the front of `members`; `worst` has the reference latency and score."""
        last_ms, floor = worst
        starts, scores = [float(min(known.ms))], [floor]
        for one in sorted(members, key=lambda each: known.ms[each]):
            if known.finals[one] > scores[-1]:
                starts.append(float(known.ms[one]))
                scores.append(float(known.finals[one]))
        return cls(np.array(starts), np.array([*starts[1:], last_ms]), np.array(scores), floor)

    @property
    def hypervolume(self) -> float:
        """The area between the front and the reference point."""
        widths = np.maximum(self.ends - self.starts, 0)
        return float(widths @ (self.scores - self.floor))

    def growth(self, ms: float, mean: float, deviation: float) -> float:
        """The expected growth of the hypervolume by a network of a normal score."""
        widths = np.maximum(self.ends - np.maximum(self.starts, ms), 0)
        z = (mean - self.scores) / deviation
        return float(widths @ (deviation * (z * norm.cdf(z) + norm.pdf(z))))


def foreseen(
    known: Recorded, begun: Sequence[int], finished: Sequence[int], passes: int
) -> tuple[Array, Array]:
    """Mean and deviation of all final scores after `passes`, by those that are finished."""
    shown = np.column_stack([-known.signals[:, passes - 1], known.sizes])
    spread = shown[begun].std(axis=0) + 1e-9
    points = np.column_stack([np.ones(len(shown)), (shown - shown[begun].mean(axis=0)) / spread])
    finals, design = known.finals[finished], points[finished]
    share = len(finished) / (len(finished) + 3)
    scale = share * float(finals.std()) + (1 - share) * FINAL_SPREAD * float(spread[0])
    values = (finals - finals.mean()) / scale
    prior = np.diag([1e-4, SLOPE_SPREAD**-2, SLOPE_SPREAD**-2])
    centre, variance = np.array([0.0, *SLOPES]), NOISE**2
    for _ in range(3):
        inverse = np.linalg.inv(design.T @ design / variance + prior)
        line = inverse @ (design.T @ values / variance + prior @ centre)
        rest = values - design @ line
        freedom = NOISE_WEIGHT + len(finished) - 1
        variance = (NOISE_WEIGHT * NOISE**2 + float(rest @ rest)) / freedom
    around = variance + np.einsum("ij,jk,ik->i", points, inverse, points)
    return finals.mean() + scale * (points @ line), scale * np.sqrt(around)


@dataclass
class Search:
    """One search that pauses.

    Attributes:
        known: The recorded trainings.
        order: Those that the search asks for, in order.
        again: Whether a paused training is taken up again.
    """

    known: Recorded
    order: Sequence[int]
    again: bool

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.done: dict[int, int] = {}
        self.finished: list[int] = []

    def run(self) -> tuple[float, list[int]]:
        """Go through the search; the time spent, and the trainings that ran to their end."""
        queue, spent, present = list(self.order), 0.0, -1
        while (present := self._next(bool(queue), present)) >= 0 or queue:
            if present < 0:
                present = queue.pop(0)
            self.done[present] = self.done.get(present, 0) + 1
            spent += self.known.costs[present] / self.known.passes
            if self.done[present] == self.known.passes:
                self.finished.append(present)
        return spent, self.finished

    def _next(self, are_left: bool, present: int) -> int:
        """The training to go on with, or -1 for a new one."""
        under_way = [one for one, passes in self.done.items() if passes < self.known.passes]
        if len(self.finished) < FIRST or not under_way:
            return under_way[0] if under_way else -1
        if not self.again:
            under_way = [one for one in under_way if one == present]
        limit = (BEGIN if self.again and are_left else END) / len(self.order)
        promised = {one: share for one, share in self._promises(under_way) if share > limit}
        costs, left = self.known.costs, self.known.passes
        each = {one: s / (costs[one] * (left - self.done[one])) for one, s in promised.items()}
        return max(each, key=lambda one: each[one], default=-1)

    def _promises(self, under_way: Sequence[int]) -> list[tuple[int, float]]:
        front = Front.of(self.known, self.finished, worst_of(self.known, self.order))
        now, found = max(front.hypervolume, 1e-12), []
        for passes in sorted({self.done[one] for one in under_way}):
            begun = [one for one, done in self.done.items() if done >= passes]
            means, deviations = foreseen(self.known, begun, self.finished, passes)
            found += [
                (one, front.growth(self.known.ms[one], means[one], deviations[one]) / now)
                for one in under_way
                if self.done[one] == passes
            ]
        return found


def worst_of(known: Recorded, order: Sequence[int]) -> tuple[float, float]:
    """The reference point: the slowest and the worst network of a search."""
    return float(known.ms[list(order)].max()) * 1.0001, float(known.finals[list(order)].min())


def under_today(known: Recorded, order: Sequence[int]) -> tuple[float, list[int]]:
    """The same under today's stop rule."""
    curves = {
        one: LearningCurve(
            tuple((loss, known.sizes[one]) for loss in known.signals[one]), known.finals[one]
        )
        for one in order
    }
    whole, stopped, spent = list[int](), 0, 0.0
    for one in order:
        rivals = tuple(Rival(known.finals[each], (known.ms[each],)) for each in whole)
        bound = FinalBound(tuple(curves[each] for each in whole), miss_beside(rivals, stopped))
        rule, last = StopRule(bound, rivals), known.passes
        if not Audit(0.1, "replay").takes(str(one)):
            for passes in range(known.passes - 1, 0, -1):
                shown = curves[one].signals[passes - 1]
                if rule.verdict(passes, shown, (known.ms[one],)) is not None:
                    last = passes
        spent += known.costs[one] * last / known.passes
        stopped += last < known.passes
        whole += [one] if last == known.passes else []
    return spent, whole


POLICIES: dict[str, Callable[[Recorded, Sequence[int]], tuple[float, list[int]]]] = {
    "stop rule of today": under_today,
    "kill": lambda known, order: Search(known, order, again=False).run(),
    "pause": lambda known, order: Search(known, order, again=True).run(),
}


def of_curves(path: Path) -> Recorded:
    """Read a file of `benchmarks/curves`, with latencies on the emulated A57."""
    target, found = TargetBook.read().open("arm"), {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        network = architecture_from_document(row["architecture"])
        evaluation = Evaluation.from_json(json.dumps(row["evaluation"]))
        if evaluation.seed == 0:
            found[network.digest] = (network, evaluation, target.estimate(network).ms)
    return Recorded.of(list(found.values()))


def of_table(seen: bool) -> Recorded:
    """Read a half of the table of truth, with its latencies on the emulated A57."""
    half = [entry for entry in read_table() if entry.is_unseen != seen]
    return Recorded.of(
        [
            (each.architecture, each.short[0], each.latencies_ms["arm"])
            for each in half
            if 0 in each.short and each.short[0].stopped is None
        ]
    )


def main() -> None:
    """Print the share of training time that is saved, and of the hypervolume that is lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", choices=["seen", "unseen"])
    parser.add_argument(
        "--curves", type=Path, default=Path(__file__).parent / "curves/random.jsonl"
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[24, 56, 100])
    parser.add_argument("--orders", type=int, default=30)
    asked = parser.parse_args()
    known = of_table(asked.table == "seen") if asked.table else of_curves(asked.curves)
    print(f"{len(known.finals)} trainings of {known.passes} passes, {asked.orders} orders")
    print("candidates  rule                 saved        hypervolume lost    finished")
    for count in (each for each in asked.candidates if each <= len(known.finals)):
        for name, policy in POLICIES.items():
            saved, lost, finished = [], [], []
            for seed in range(asked.orders):
                order = random.Random(seed).sample(range(len(known.finals)), count)
                spent, whole = policy(known, order)
                worst = worst_of(known, order)
                there, got = (
                    Front.of(known, these, worst).hypervolume for these in (order, whole)
                )
                saved.append(1 - spent / float(known.costs[order].sum()))
                lost.append(1 - got / there)
                finished.append(len(whole))
            error = statistics.stdev(lost) / len(lost) ** 0.5
            print(
                f"{count:10}  {name:20} {statistics.fmean(saved):5.1%}    "
                f"{statistics.fmean(lost):8.2%} ± {error:.2%}    "
                f"{statistics.fmean(finished):8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
