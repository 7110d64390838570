"""What the stop rule saves and loses on recorded trainings that ran to their end.

Their order is shuffled many times, since a search may come upon the same networks in any order.
The intervals say what another set of networks would give: a jackknife over the networks (Efron and
Stein, "The jackknife estimate of variance", Annals of Statistics 1981); the orders share one set
and would make them too narrow.

    python benchmarks/stop_rule.py sqlite:///nas-sv2.db --space docs/certificates/space.yaml
        --recipe docs/certificates/reference.yaml --trajectories 1:100 --trajectories 2:0
        --matched 8:0:0.135977
"""

import argparse
import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence

from scipy.stats import spearmanr
from sqlalchemy import select
from sqlalchemy.orm import Session

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.recipe_files import open_recipe
from nas_sv2.latency.store import open_engine
from nas_sv2.latency.targets import open_target
from nas_sv2.search.audit import Audit
from nas_sv2.search.stop_rule import FEWEST, LEFT, Course, FinalBound
from nas_sv2.search.stop_rule_replay import FullTraining, Replay, front_members, replay
from nas_sv2.space import Architecture, SearchSpace
from nas_sv2.space.contrasts import flops_matched, trajectories
from nas_sv2.space.space_files import open_space
from nas_sv2.studies.record_store import EvaluationRow

Z = 1.96  # 95 % of a normal distribution
SIGNALS: dict[str, Callable[[Epoch], tuple[float | None, ...]]] = {
    "train_loss": lambda epoch: (epoch.train_loss,),
    "accuracy": lambda epoch: (epoch.accuracy,),
    "loss": lambda epoch: (epoch.loss,),
    "train_loss+accuracy": lambda epoch: (epoch.train_loss, epoch.accuracy),
}
Recorded = tuple[str, Evaluation, float]
"""Digest of a network, its training, and its latency in ms."""


def main() -> None:
    """Print how much the passes tell, and what the rule does."""
    options = _options()
    networks = _networks(open_space(options.space), options.trajectories, options.matched)
    recorded = _recorded(options, networks)
    print(f"{len(recorded)} trainings of {len(networks)} networks; target {options.target}")
    for name in options.signals:
        trainings = [_full(one, name) for one in recorded]
        print(f"{name}; {len(front_members(trainings))} networks on the front")
        for line in _by_pass([training.course for training in trainings]):
            print(f"  {line}")
        for share, fewest, left in itertools.product(options.shares, options.fewest, options.left):
            print(f"  {_line(trainings, share, fewest, left, options.orders)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", help="URL of a database with evaluations")
    parser.add_argument("--space", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--trajectories", action="append", default=[], metavar="COUNT:SEED")
    parser.add_argument("--matched", action="append", default=[], metavar="COUNT:SEED:MFLOPS")
    parser.add_argument("--target", default="arm")
    parser.add_argument("--signals", nargs="+", choices=list(SIGNALS), default=list(SIGNALS))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--fewest", type=int, nargs="+", default=[FEWEST])
    parser.add_argument("--left", type=float, nargs="+", default=[LEFT])
    parser.add_argument("--orders", type=int, default=200)
    return parser.parse_args()


def _networks(
    space: SearchSpace, walks: Sequence[str], matched: Sequence[str]
) -> dict[str, Architecture]:
    """By digest."""
    found: list[Architecture] = []
    for walk in walks:
        count, seed = map(int, walk.split(":"))
        found += trajectories(space, count, seed).networks
    for one in matched:
        how_many, drawn_by, mflops = one.split(":")
        found += flops_matched(space, float(mflops) * 1e6, int(how_many), int(drawn_by))
    return {network.digest: network for network in found}


def _recorded(options: argparse.Namespace, networks: dict[str, Architecture]) -> list[Recorded]:
    recipe = open_recipe(options.recipe)
    query = select(EvaluationRow.architecture, EvaluationRow.document).where(
        EvaluationRow.recipe == recipe.digest, EvaluationRow.seed == options.seed
    )
    with Session(open_engine(options.database)) as session:
        rows = [(digest, Evaluation.from_json(text)) for digest, text in session.execute(query)]
    target = open_target(options.target)
    recorded = []
    for digest, evaluation in rows:
        if digest in networks and evaluation.stopped is None:
            recorded.append((digest, evaluation, target.estimate(networks[digest]).ms))
        else:
            print(f"left out: {digest[:12]} ({evaluation.stopped or 'none of the networks'})")
    return recorded


def _full(recorded: Recorded, signals: str) -> FullTraining:
    digest, evaluation, ms = recorded
    shown = []
    for epoch in evaluation.history:
        figures = [figure for figure in SIGNALS[signals](epoch) if figure is not None]
        if len(figures) < len(SIGNALS[signals](epoch)):
            allowed = "train_loss, as the recipe does not validate after each pass"
            raise ConfigError("--signals", signals, allowed)
        shown.append(tuple(figures))
    course = Course(tuple(shown), evaluation.score)
    return FullTraining(digest, course, (ms,), evaluation.seconds)


def _by_pass(courses: Sequence[Course]) -> Iterator[str]:
    """How the signals after each pass order the networks, and what they leave unexplained."""
    finals = [course.final for course in courses]
    bound = FinalBound(tuple(courses), fewest=3)
    yield f"final {statistics.fmean(finals):.4f}, deviation {statistics.stdev(finals):.4f}"
    for number in range(1, bound.passes):
        ranks = [
            f"{spearmanr(column, finals).statistic:+.2f}"
            for column in zip(*(course.signals[number - 1] for course in courses), strict=True)
        ]
        yield (
            f"pass {number}: Spearman with the final {', '.join(ranks)}; "
            f"unexplained {bound.unexplained(number):.2f}"
        )


def _line(
    trainings: Sequence[FullTraining], share: float, fewest: int, left: float, orders: int
) -> str:
    def replays(some: Sequence[FullTraining]) -> list[Replay]:
        draw = random.Random(0)
        return [
            replay(draw.sample(some, len(some)), Audit(share, str(n)), fewest=fewest, left=left)
            for n in range(orders)
        ]

    every = replays(trainings)
    without = [replays([*trainings[:n], *trainings[n + 1 :]]) for n in range(len(trainings))]
    saved = _interval(every, without, lambda r: r.seconds_saved, lambda r: r.seconds)
    later = _interval(
        every, without, lambda r: r.seconds_saved, lambda r: r.seconds - r.seconds_before
    )
    lost = _interval(every, without, lambda r: r.lost, lambda r: r.front)
    stopped = statistics.fmean(r.stopped for r in every)
    audited, false = (
        sum(getattr(r, name) for r in every) for name in ("audited", "audited_on_front")
    )
    wrong = f"{false / audited:.1%} of the audited on the front" if audited else "none audited"
    members = sum(r.lost for r in every)
    score = f", {sum(r.lost_score for r in every) / members:.4f} better each" if members else ""
    return (
        f"audit {share:.0%}, first {fewest} in full, {left} left: stopped {stopped:.1f}; "
        f"saved {saved} of the time ({later} once calibrated); "
        f"front members lost {lost}{score}; {wrong}"
    )


def _interval(
    every: Sequence[Replay],
    without: Sequence[Sequence[Replay]],
    part: Callable[[Replay], float],
    whole: Callable[[Replay], float],
) -> str:
    def ratio(replays: Sequence[Replay]) -> float:
        return sum(map(part, replays)) / sum(map(whole, replays))

    each = [ratio(replays) for replays in without]
    middle = statistics.fmean(each)
    error = math.sqrt(sum((one - middle) ** 2 for one in each) * (len(each) - 1) / len(each))
    value = ratio(every)
    return f"{value:.1%} ({max(0.0, value - Z * error):.1%} to {min(1.0, value + Z * error):.1%})"


if __name__ == "__main__":
    main()
