"""What the stop rule saves and loses on recorded trainings that ran to their end.

Their order is shuffled many times, since a search may come upon the same networks in any order.
The intervals say what another set of networks would give: a jackknife over the networks (Efron and
Stein, "The jackknife estimate of variance", Annals of Statistics 1981); the orders share one set
and would make them too narrow.

The recorded trainings are in `benchmarks/curves`: a JSON object a line, with the network and its
evaluation. Others come out of a database, from studies and qualifications:

    python benchmarks/stop_rule.py benchmarks/curves/narrow.jsonl --intervals
    python benchmarks/stop_rule.py benchmarks/curves/wide.jsonl
        --earlier benchmarks/curves/narrow.jsonl --by cross_entropy --cost flops
    python benchmarks/stop_rule.py sqlite:///nas-sv2.db --recipe long --data animals@CONTENT
        --write curves.jsonl

A member that is lost by less than two trainings of one network differ by is a tie with what is
left. How much that is follows from the networks that a file has with seeds 0 and 1.

`clairvoyant` is what a rule would save that knew every final score after the first pass.
"""

import argparse
import itertools
import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from scipy.stats import spearmanr
from stop_rule_replay import FullTraining, Replay, front_members, replay

from nas_sv2.database.database import Database
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.evaluate.recipes.recipe import Score
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.early_stop import (
    FEWEST,
    RISK,
    FinalBound,
    LearningCurve,
    log_flops,
    signals_of,
)
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document
from nas_sv2.studies.storage.recipe_evidence import whole_trainings

Z = 1.96  # 95 % of a normal distribution
SIGNALS: dict[str, Callable[[Sequence[Epoch], float, str], tuple[float, ...]]] = {
    "rule": signals_of,
    "train_loss": lambda passes, size, by: (passes[-1].train_loss,),
    "size": lambda passes, size, by: (size,),
    "accuracy+size": lambda passes, size, by: (passes[-1].accuracy or 0.0, size),
}
Recorded = tuple[Architecture, Evaluation]


def main() -> None:
    """Print how much the passes tell, and what the rule does."""
    options = _options()
    recorded = [one for source in options.curves for one in _read(source, options)]
    if options.write:
        _write(options.write, recorded)
    earlier = [one for source in options.earlier for one in _read(source, options)]
    print(f"{len(recorded)} trainings, {len(earlier)} earlier ones; {options.by}; {options.cost}")
    cost = _costs(options.cost)
    noise = _noise(options)
    for name in options.signals:
        trainings = [_full(one, name, options.by, cost) for one in recorded]
        known = tuple(_full(one, name, options.by, cost).curve for one in earlier)
        print(f"{name}: {len(front_members(trainings))} networks on the front")
        for line in _by_pass([training.curve for training in trainings]):
            print(f"  {line}")
        for share, risk in itertools.product(options.shares, options.risk):
            print(f"  {_line(trainings, known, share, risk, noise, options)}", flush=True)
    print(f"  clairvoyant: saves {_clairvoyant(trainings, known, options):.0%}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "curves", nargs="+", help="file of recorded trainings, or a database's URL"
    )
    parser.add_argument("--earlier", nargs="+", default=[], help="the same, of earlier studies")
    parser.add_argument("--recipe", help="of a database")
    parser.add_argument("--data", help="of a database, with its content: SPEC@KEY")
    parser.add_argument("--write", type=Path, help="file to keep the trainings in")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    parser.add_argument("--cost", default="arm", help="a target, or flops")
    parser.add_argument("--by", choices=get_args(Score), default="accuracy")
    parser.add_argument("--signals", nargs="+", choices=list(SIGNALS), default=["rule"])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0], help="of the audit")
    parser.add_argument("--risk", type=float, nargs="+", default=[RISK])
    parser.add_argument("--fewest", type=int, default=FEWEST)
    parser.add_argument("--orders", type=int, default=60)
    parser.add_argument("--intervals", action="store_true", help="minutes")
    return parser.parse_args()


def _read(source: str, options: argparse.Namespace) -> list[Recorded]:
    """One training of each network; two descriptions of one train to the same bits."""
    if "://" in source:
        digest = open_recipe(options.recipe).digest
        found = whole_trainings(Database.open(source), digest, options.data, options.seed)
        rows = list(found.values())
    else:
        documents = map(json.loads, Path(source).read_text().splitlines())
        rows = [
            (
                architecture_from_document(each["architecture"]),
                Evaluation.from_json(json.dumps(each["evaluation"])),
            )
            for each in documents
        ]
    same = [(a, e) for a, e in rows if e.seed == options.seed and e.stopped is None]
    return list({evaluation.history: (a, evaluation) for a, evaluation in same}.values())


def _noise(options: argparse.Namespace) -> float | None:
    """The difference of two trainings of one network that is exceeded once in twenty.

    From networks with two seeds; what the other seed does to all of them alike is none.
    """
    variances = []
    for source in options.curves:
        first, second = (
            {a.digest: _final(e, options.by) for a, e in _read(source, seeded)}
            for seeded in (argparse.Namespace(**{**vars(options), "seed": n}) for n in (0, 1))
        )
        both = [first[digest] - second[digest] for digest in first.keys() & second.keys()]
        if len(both) > 2:
            variances.append(statistics.variance(both))
    return Z * math.sqrt(statistics.fmean(variances)) if variances else None


def _final(evaluation: Evaluation, by: str) -> float:
    """Whatever they were compared by: all that any score needs is recorded."""
    if by == "training_speed":
        return -statistics.fmean(epoch.train_loss for epoch in evaluation.history)
    if by == "accuracy":
        return evaluation.accuracy
    assert evaluation.loss is not None, "a training has one"
    return -evaluation.loss


def _write(path: Path, recorded: Sequence[Recorded]) -> None:
    lines = (
        json.dumps(
            {"architecture": architecture_to_document(a), "evaluation": json.loads(e.to_json())}
        )
        for a, e in recorded
    )
    path.write_text("".join(f"{line}\n" for line in lines))


def _costs(name: str) -> Callable[[Architecture], float]:
    if name == "flops":
        return lambda architecture: cost_of(lower(architecture)).flops / 1e6
    target = TargetBook.read().open(name)
    return lambda architecture: target.estimate(architecture).ms


def _full(
    recorded: Recorded, signals: str, by: str, cost: Callable[[Architecture], float]
) -> FullTraining:
    architecture, evaluation = recorded
    size = log_flops(architecture)
    history = evaluation.history
    shown = tuple(SIGNALS[signals](history[: n + 1], size, by) for n in range(len(history)))
    final = _final(evaluation, by)
    return FullTraining(
        architecture.digest, LearningCurve(shown, final), (cost(architecture),), evaluation.seconds
    )


def _by_pass(curves: Sequence[LearningCurve]) -> Iterator[str]:
    """How the signals after each pass order the networks, and what they leave unexplained."""
    finals = [curve.final for curve in curves]
    bound = FinalBound(tuple(curves), fewest=3)
    yield f"final {statistics.fmean(finals):.4f}, deviation {statistics.stdev(finals):.4f}"
    for number in range(1, bound.passes):
        ranks = [
            f"{spearmanr(column, finals).statistic:+.2f}"
            for column in zip(*(curve.signals[number - 1] for curve in curves), strict=True)
        ]
        yield (
            f"pass {number}: Spearman with the final {', '.join(ranks)}; "
            f"unexplained {bound.unexplained(number):.2f}"
        )


def _line(
    trainings: Sequence[FullTraining],
    earlier: Sequence[LearningCurve],
    share: float,
    risk: float,
    noise: float | None,
    options: argparse.Namespace,
) -> str:
    def replays(some: Sequence[FullTraining]) -> list[Replay]:
        draw = random.Random(0)
        return [
            replay(
                draw.sample(some, len(some)),
                Audit(share, str(n)),
                risk=risk,
                fewest=options.fewest,
                earlier=earlier,
            )
            for n in range(options.orders)
        ]

    every = replays(trainings)
    without = []
    if options.intervals:
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
    score = ""
    if members:
        score = f", {sum(sum(r.lost_by) for r in every) / members:.4f} better each"
    if noise is not None:
        clear = sum(r.lost_beyond(noise) for r in every) / sum(r.front for r in every)
        score += f", {clear:.1%} by more than the seed's noise of {noise:.4f}"
    return (
        f"audit {share:.0%}, risk {risk}: stopped {stopped:.1f}; saved {saved} of the time "
        f"({later} once calibrated); front members lost {lost}{score}; {wrong}"
    )


def _clairvoyant(
    trainings: Sequence[FullTraining],
    earlier: Sequence[LearningCurve],
    options: argparse.Namespace,
) -> float:
    """What stopping after the first pass saves of what then turns out to be dominated."""
    draw = random.Random(0)
    saved = 0.0
    for _ in range(options.orders):
        order = draw.sample(trainings, len(trainings))
        for n, one in enumerate(order):
            known = len(earlier) + n >= options.fewest
            if known and one.digest not in front_members(order[: n + 1]):
                saved += one.seconds * (1 - 1 / len(one.curve.signals))
    whole_s = sum(one.seconds for one in trainings)
    return saved / (int(options.orders) * whole_s)


def _interval(
    every: Sequence[Replay],
    without: Sequence[Sequence[Replay]],
    part: Callable[[Replay], float],
    whole: Callable[[Replay], float],
) -> str:
    def ratio(replays: Sequence[Replay]) -> float:
        return float(sum(map(part, replays)) / sum(map(whole, replays)))

    value = ratio(every)
    if not without:
        return f"{value:.1%}"
    each = [ratio(replays) for replays in without]
    middle = statistics.fmean(each)
    error = math.sqrt(sum((one - middle) ** 2 for one in each) * (len(each) - 1) / len(each))
    return f"{value:.1%} ({max(0.0, value - Z * error):.1%} to {min(1.0, value + Z * error):.1%})"


if __name__ == "__main__":
    main()
