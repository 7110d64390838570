"""How well a network's fused estimate ranks, and whether its intervals hold what they say.

    python benchmarks/fused_estimates.py            # the seen half of the table, certificates
    python benchmarks/fused_estimates.py --unseen   # the unseen half: to quote, not to choose by
    python benchmarks/fused_estimates.py --from     # informed by another study's trainings
    python benchmarks/fused_estimates.py --few      # pairs of few trainings that are called sure

The truth is the longer training. Of a network the estimate never knows its own longer training.
Kendall's τ is given over all pairs of networks and over those within 10 % of FLOPs, for counting
FLOPs, latency, the training alone, the model of accuracy without the network's own training, and
the fused estimate. Intervals are of 95 %, by resampling networks. Latencies are of the emulated
Cortex-A57.

Three kinds of evidence: the table of truth (`truth_table.py`: 6 passes against 24), the second
seeds of `curves/wide.jsonl` and `narrow.jsonl` (a training against another of equal length), and
the certificates of `docs/lab/` (two seeds by a recipe and by one that is longer).
"""

import argparse
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import permutations
from pathlib import Path

import numpy as np
import truth_table
from numpy.typing import NDArray
from scipy.stats import zscore

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.features import features
from nas_sv2.studies.estimates.fusion import fuse
from nas_sv2.studies.estimates.study_estimates import SURE

Array = NDArray[np.float64]
Index = NDArray[np.int64]
HERE = Path(__file__).parent
CERTIFICATES = HERE.parent / "docs" / "lab"
EQUAL, RESAMPLES = math.log(1.1), 2000


@dataclass(frozen=True)
class Trainings:
    """Networks with a training, and some with a longer one.

    Attributes:
        name: What they are of.
        features: Of shape (N, F); the first is log FLOPs.
        log_ms: Logarithms of latencies in ms.
        scores: By the recipe.
        longer: By the longer recipe; not a number where there is none.
        asked: Which networks are judged.
    """

    name: str
    features: Array
    log_ms: Array
    scores: Array
    longer: Array
    asked: NDArray[np.bool_]


def of_table(unseen: bool) -> Trainings:
    """The table of truth; every short training is known, and the longer ones of the seen half."""
    table = truth_table.read_table()
    rows, log_ms = _read(entry.architecture for entry in table)
    scores = np.array([entry.short[0].score for entry in table])
    longer = np.array([entry.long[0].score if entry.long else np.nan for entry in table])
    half = np.array([entry.is_unseen == unseen for entry in table])
    asked = half & ~np.isnan(longer)
    kept = half | np.array([not entry.is_unseen for entry in table])
    name = f"table, {'unseen' if unseen else 'seen'} half"
    return Trainings(
        name,
        rows[kept],
        log_ms[kept],
        scores[kept],
        longer[kept],
        asked[kept],
    )


def of_seeds(name: str) -> Trainings:
    """Trainings of `curves/`; the longer one is the same with another seed."""
    found: dict[str, tuple[Architecture, dict[int, Evaluation]]] = {}
    for line in (HERE / "curves" / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        network = architecture_from_document(row["architecture"])
        evaluation = Evaluation.from_json(json.dumps(row["evaluation"]))
        found.setdefault(network.digest, (network, {}))[1][evaluation.seed] = evaluation
    rows, log_ms = _read(network for network, _ in found.values())
    scores = np.array([by_seed[0].score for _, by_seed in found.values()])
    again = np.array([by[1].score if 1 in by else np.nan for _, by in found.values()])
    return Trainings(f"seeds, {name}", rows, log_ms, scores, again, ~np.isnan(again))


def of_certificate(path: Path) -> Trainings:
    """The networks of a certificate as it is printed; one training against the longer's mean."""
    rows = re.findall(r"^\| (?:joint|equal FLOPs) (\| \d.*)$", path.read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    shown = path.stem.partition("certificate-")[2]
    return Trainings(
        f"certificate, {shown}",
        *_read(map(_printed_network, cells)),
        np.array([float(each[8].split()[0]) for each in cells]),
        np.array([np.mean([float(score) for score in each[9].split()]) for each in cells]),
        np.ones(len(cells), bool),
    )


def _read(networks: Iterable[Architecture]) -> tuple[Array, Array]:
    """The features of networks, and the logarithms of their latencies."""
    core, every = EmulatedArm.open(), list(networks)
    rows = np.array([features(network, cost_of(lower(network))) for network in every])
    return rows, np.log([core.estimate(network).ms for network in every])


def _printed_network(cells: Sequence[str]) -> Architecture:
    depths, widths, splits, kernels = (cell.split() for cell in cells[:4])
    stem, head = map(int, cells[6].split(","))
    columns = zip(depths, widths, splits, kernels, cells[4], cells[5], strict=True)
    stages = tuple(
        Stage(int(depth), int(width), Fraction(split), int(kernel), se == "x", residual == "x")
        for depth, width, split, kernel, se, residual in columns
    )
    network = Architecture(
        (stem,), stages, head, resolution=28, channels=1, classes=10, stem_pool=False
    )
    flops = cost_of(lower(network)).flops
    if abs(flops / float(cells[7]) / 1e6 - 1) > 0.01:
        raise ValueError(f"{cells} is printed with other FLOPs than {flops}")
    return network


@dataclass(frozen=True)
class Ranked:
    """What was foretold of the networks that are asked for, and what came.

    Attributes:
        by: The order by each method.
        low: The lower ends of the fused estimates' intervals.
        high: The upper ends.
        flops: In logarithms.
        truth: The longer trainings, on the scale of the estimates.
    """

    by: dict[str, Array]
    low: Array
    high: Array
    flops: Array
    truth: Array


def rank(data: Trainings) -> Ranked:
    """Rank each network, its own longer training unknown, its own training known or not."""
    asked = np.flatnonzero(data.asked)
    found = [_of_one(data, int(index)) for index in asked]
    model, mean, low, high, scale = (np.array(each) for each in zip(*found, strict=True))
    truth = data.longer[asked]
    if not scale.any():  # no longer training decided: the scale is the recipe's
        known, scores = data.longer[~np.isnan(data.longer)], data.scores
        truth = scores.mean() + scores.std() * (truth - known.mean()) / known.std()
    by = {
        "counting": data.features[asked, 0],
        "latency": data.log_ms[asked],
        "training": data.scores[asked],
        "model": model,
        "fused": mean,
    }
    return Ranked(by, low, high, data.features[asked, 0], truth)


def _of_one(data: Trainings, index: int) -> tuple[float, float, float, float, int]:
    others = np.arange(len(data.scores)) != index
    model = AccuracyModel.fitted(data.features[others], data.scores[others])
    alone = float(model.at(data.features[[index]])[0][0])
    longer = np.where(others, data.longer, np.nan)
    fused = fuse(data.features, data.log_ms, data.scores, longer)
    mean, reach = float(fused.mean[index]), fused.reach * float(fused.deviation[index])
    return alone, mean, mean - reach, mean + reach, fused.longer


def tau(ours: Array, truth: Array, flops: Array, index: Index, near: float) -> float:
    """Kendall's τ over the pairs whose FLOPs are `near` each other; 0 where there is none."""
    places = np.triu_indices(len(index), 1)
    first, second = index[places[0]], index[places[1]]
    pairs = (first != second) & (np.abs(flops[first] - flops[second]) < near)
    agree = np.sign(ours[first] - ours[second]) * np.sign(truth[first] - truth[second])
    return float(agree[pairs].mean()) if pairs.any() else 0.0


def interval(statistic: Callable[[Index], float], count: int) -> str:
    """The statistic with its 95 % interval over resampled networks."""
    drawn = np.random.default_rng(0)
    draws = [statistic(drawn.integers(0, count, count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{statistic(np.arange(count)):5.2f} ({low:5.2f} to {high:5.2f})"


def _report_pairs(found: Ranked, near: float) -> None:
    def of(name: str, index: Index) -> float:
        return tau(found.by[name], found.truth, found.flops, index, near)

    def lead(name: str, index: Index) -> float:
        return of("fused", index) - of(name, index)

    for name in found.by:
        print(f"    {name:20}{interval(partial(of, name), len(found.truth))}")
    for name in ("counting", "latency", "training"):
        print(f"    fused - {name:12}{interval(partial(lead, name), len(found.truth))}")


def weights(data: Trainings) -> tuple[Array, float]:
    """The weights of the model's score and of log ms in the longer trainings, by least squares.

    All are standardised. The second figure is the correlation of score and log ms.
    """
    known = ~np.isnan(data.longer)
    scores = AccuracyModel.fitted(data.features, data.scores).at(data.features)[0]
    both = zscore(np.column_stack([scores, data.log_ms])[known], axis=0)
    found = np.linalg.lstsq(both, zscore(data.longer[known]), rcond=None)[0]
    return found, float(np.corrcoef(both.T)[0, 1])


def report(data: Trainings) -> tuple[int, int]:
    """Print the agreement of one set; the number of its networks that the intervals hold."""
    count = int(data.asked.sum())
    print(f"\n{data.name}: {len(data.scores)} trainings, {count} networks asked for")
    (score, size), alike = weights(data)
    print(f"  weights of score and log ms {score:.2f} and {size:.2f}, correlated {alike:.2f}")
    if count < 8:
        print("  too few longer trainings yet")
        return 0, 0
    found = rank(data)
    for words, near in (("all pairs", math.inf), ("equal FLOPs", EQUAL)):
        first, second = np.triu_indices(count, 1)
        pairs = int((np.abs(found.flops[first] - found.flops[second]) < near).sum())
        print(f"  {words} ({pairs})")
        if pairs:
            _report_pairs(found, near)
    held = int(((found.low < found.truth) & (found.truth < found.high)).sum())
    print(f"  90 % intervals hold {held} of {count}")
    return held, count


def report_informed(data: Trainings, other: AccuracyModel, unrelated: AccuracyModel) -> None:
    """Print how few trainings rank, alone and informed by another study; by their second seeds."""
    informing = {"alone": None, "informed": other, "by an unrelated study": unrelated}
    asked, draw = np.flatnonzero(data.asked), np.random.default_rng(0)
    print(f"\n{data.name}: {len(asked)} networks with a second training")
    for count in (5, 8):
        chosen = [draw.permutation(asked)[:count] for _ in range(60)]
        for name, model in informing.items():
            found = []
            for those in chosen:
                none = np.full(count, np.nan)
                fused = fuse(
                    data.features[those], data.log_ms[those], data.scores[those], none, model
                )
                flops, every = data.features[those, 0], np.arange(count)
                found.append(tau(fused.mean, data.longer[those], flops, every, math.inf))
            print(f"  of {count:2}, {name:22} τ {np.mean(found):.2f}")


def report_few(data: Trainings) -> None:
    """Print how many pairs of few trainings are called sure, and come in that order later."""
    asked, draw = np.flatnonzero(~np.isnan(data.longer)), np.random.default_rng(0)
    for count in (n for n in (5, 6, 8, 12, 24) if n <= len(asked)):
        sure = right = 0
        for _ in range(60):
            those, none = draw.permutation(asked)[:count], np.full(count, np.nan)
            fused = fuse(data.features[those], data.log_ms[those], data.scores[those], none)
            for better, worse in permutations(range(count), 2):
                if fused.chance_better(better, worse) >= SURE:
                    sure += 1
                    right += int(data.longer[those[better]] > data.longer[those[worse]])
        print(
            f"{data.name:36} {count:2} trainings: {right:4} of {sure:4} right, {right / sure:.3f}"
        )


def main() -> None:
    """Print the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--unseen", action="store_true", help="the half to quote")
    parser.add_argument("--from", action="store_true", dest="informed", help="by another study")
    parser.add_argument("--few", action="store_true", help="how sure few trainings are")
    asked_for = parser.parse_args()
    if asked_for.unseen:
        report(of_table(unseen=True))
        return
    if asked_for.informed:
        other, draw = of_seeds("random"), np.random.default_rng(0)
        related = AccuracyModel.fitted(other.features, other.scores)
        unrelated = AccuracyModel.fitted(other.features, draw.permutation(other.scores))
        for data in map(of_seeds, ("wide", "narrow")):
            report_informed(data, related, unrelated)
        return
    certificates = map(of_certificate, sorted(CERTIFICATES.glob("*-certificate-*.md")))
    sets = [of_table(unseen=False), *map(of_seeds, ("wide", "narrow")), *certificates]
    if asked_for.few:
        for data in sets:
            report_few(data)
        return
    held, asked = map(sum, zip(*map(report, sets), strict=True))
    print(f"\nin all, 90 % intervals hold {held} of {asked}")


if __name__ == "__main__":
    main()
