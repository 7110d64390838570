"""Compares samplers: the trainings that each needs for a good front.

    python benchmarks/samplers.py models      # on models of trainings
    python benchmarks/samplers.py table       # choosing from the networks of benchmarks/table
    python benchmarks/samplers.py latency     # the model of latency
    python benchmarks/samplers.py measured    # a target that has to run networks
    python benchmarks/samplers.py from        # informed by another study, related and unrelated

A model stands for the truth: a Gaussian process (`gp`) or extremely randomized trees (`trees`),
fitted to the trainings of `benchmarks/table` or of `benchmarks/curves/random.jsonl`. It gives
the expected score of every network. A training gives that with noise. The latency is that of the
emulated Cortex-A57, which is exact.

A longer training scores the expected score and `--longer` times log ms, both standardised.
Equal weights are an assumption, with some evidence (`fused_estimates.py`). With 0, the recipe's
own score is the truth.

A search reports the front by the fused estimates of its trainings. This front is judged by the
longer trainings: its hypervolume of score and logarithm of latency, as a share of that of 1,000
random networks. Networks faster than 95 % of these count as that fast. A search may go beyond
them, so that its share may exceed 1. Random search draws from these networks.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import truth_table
from scipy.stats import zscore
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nas_sv2.errors import ConfigError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.search.asking.candidates import Candidate, Candidates
from nas_sv2.search.asking.first_timings import DRAWN
from nas_sv2.search.asking.judge import features_of
from nas_sv2.search.asking.sampler import EhviSampler, SamplerSetting
from nas_sv2.search.walk.audit import Audit
from nas_sv2.search.walk.budget import Budget
from nas_sv2.search.walk.walk import Walk
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.search_space import SearchSpace, space_from_document
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document
from nas_sv2.space.units.reference import in_form_of
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.fusion import fuse
from nas_sv2.studies.estimates.improvement import spread
from nas_sv2.studies.estimates.latency_model import LatencyModel
from nas_sv2.studies.estimates.other_study import FEWEST

CURVES = Path(__file__).parent / "curves" / "random.jsonl"
POOL = 1000
SHOWN = (8, 16, 25, 50, 100)
STEP = 3  # numbers of trainings between two judgements
LONG = 500  # trainings of random search, whose front is to be reached
NOISE = 0.5  # of one training, as a share of the scores' deviation: what the 152 trainings show
_OPTIONS: dict[str, list[Any]] = {"kernel": [3, 5], "se": [False, True], "residual": [False, True]}
_STAGES = (((1, 4), (12, 48, 4)), ((1, 8), (16, 96, 8)), ((1, 4), (32, 192, 16)))
CURVES_SPACE: dict[str, Any] = {
    "nas_sv2_space": 1,
    "stem": [8, 16, 24],
    "head": {"low": 64, "high": 512, "step": 64},
    "resolution": 32,
    "channels": 1,
    "classes": 10,
    "stages": [
        {
            "depth": dict(zip(("low", "high"), depth, strict=True)),
            "width": dict(zip(("low", "high", "step"), width, strict=True)),
            "split": ["1/4", "1/2", "3/4"],
            **_OPTIONS,
        }
        for depth, width in _STAGES
    ],
}
"""The space that the networks of `CURVES` were drawn from."""


@dataclass(frozen=True)
class Known:
    """The emulated Cortex-A57, which is asked once for each network.

    Attributes:
        name: The target's name.
        provenance: The origin of its latencies.
    """

    name: str = "arm"
    provenance: Provenance = "emulated"
    _arm: EmulatedArm = field(default_factory=EmulatedArm.open)
    _found: dict[str, Latency] = field(default_factory=dict)

    def estimate(self, network: Network) -> Latency:
        """Return the latency of a network."""
        if network.digest not in self._found:
            self._found[network.digest] = self._arm.estimate(network)
        return self._found[network.digest]


@dataclass(frozen=True)
class Trained:
    """A network of a search: its features, latency, longer training and observed score."""

    features: np.ndarray
    log_ms: float
    longer: float
    observed: float


def hypervolume(front: Sequence[tuple[float, float]], corner: tuple[float, float]) -> float:
    """The area between a corner and points of latency, lower, and score, higher is better."""
    area, level = 0.0, corner[1]
    for log_ms, score in sorted(front, key=lambda one: (one[0], -one[1])):
        if log_ms < corner[0] and score > level:
            area, level = area + (corner[0] - log_ms) * (score - level), score
    return area


def reported(history: Sequence[Trained]) -> list[tuple[float, float]]:
    """The front by the estimates of a study, with the longer trainings."""
    observed = np.array([one.observed for one in history])
    if len(history) >= FEWEST:
        rows = np.array([one.features for one in history])
        log_ms = np.array([one.log_ms for one in history])
        observed = fuse(rows, log_ms, observed, np.full(len(history), np.nan)).mean
    front, best = [], -math.inf
    for place in sorted(range(len(history)), key=lambda n: (history[n].log_ms, -observed[n])):
        if observed[place] > best:
            best = observed[place]
            front.append((history[place].log_ms, history[place].longer))
    return front


@dataclass(frozen=True)
class Problem:
    """Networks with known latencies and expected scores.

    Attributes:
        setting: The search.
        expected: The expected scores of networks, in deviations of the trainings' scores.
        noise: The deviation of one training.
        pool: Networks whose hypervolume is the measure.
        credit: Weight of log ms in a longer training; that of the expected score is 1.
        pick: Turns the network that a sampler names into one that can be trained, given those
            that were.
    """

    setting: SamplerSetting
    expected: Callable[[Sequence[Candidate]], Sequence[float]]
    noise: float
    pool: Sequence[Candidate]
    pick: Callable[[Candidate, set[str]], Candidate] = lambda asked, taken: asked
    credit: float = 1.0
    _scales: list[tuple[float, float]] = field(default_factory=list)
    _corner: list[tuple[float, float]] = field(default_factory=list)
    _fast: list[float] = field(default_factory=list)
    _ideal: list[float] = field(default_factory=list)
    _known: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find the corner and the ideal of the pool."""
        log_ms = [self.log_ms(one) for one in self.pool]
        scores = self.expected(self.pool)
        digests = (one.architecture.digest for one in self.pool)
        self._known.update(zip(digests, map(float, scores), strict=True))
        for values in (scores, log_ms):
            self._scales.append((float(np.mean(values)), float(np.std(values))))
        longer = [self.longer(one) for one in self.pool]
        fast, slow = np.quantile(log_ms, [0.05, 0.95])
        self._fast.append(float(fast))
        self._corner.append((float(slow), float(np.quantile(longer, 0.05))))
        self._ideal.append(self._volume(list(zip(log_ms, longer, strict=True))))

    def _volume(self, front: Sequence[tuple[float, float]]) -> float:
        clipped = [(max(log_ms, self._fast[0]), score) for log_ms, score in front]
        return hypervolume(clipped, self._corner[0])

    def longer(self, one: Candidate) -> float:
        """The score of a longer training of a network, standardised."""
        values = zip((self.score(one), self.log_ms(one)), self._scales, strict=True)
        score, size = ((value - mean) / deviation for value, (mean, deviation) in values)
        return float(score + self.credit * size)

    def log_ms(self, one: Candidate) -> float:
        """The logarithm of a network's latency."""
        return math.log(self.setting.walk.targets["arm"].estimate(one.architecture).ms)

    def score(self, one: Candidate) -> float:
        """The expected score of a network."""
        digest = one.architecture.digest
        if digest not in self._known:
            self._known[digest] = float(self.expected([one])[0])
        return self._known[digest]

    def share(self, history: Sequence[Trained]) -> float:
        """The hypervolume of the reported front, as a share of the ideal."""
        return self._volume(reported(history)) / self._ideal[0]

    def shares(self, history: Sequence[Trained]) -> list[float]:
        """The share after each training; those between the numbers that are asked are the last."""
        found: list[float] = []
        for number in range(1, len(history) + 1):
            is_asked = number % STEP == 0 and number <= SHOWN[-1]
            is_asked = is_asked or number in (1, *SHOWN, len(history))
            found.append(self.share(history[:number]) if is_asked else found[-1])
        return found

    def drawn(self, seed: int, count: int) -> list[Trained]:
        """Train networks of the pool at random."""
        draw = np.random.default_rng(1000 + seed)
        chosen = [self.pool[place] for place in draw.permutation(len(self.pool))[:count]]
        return [self._trained(one, draw) for one in chosen]

    def _trained(self, one: Candidate, draw: np.random.Generator) -> Trained:
        observed = self.score(one) + self.noise * draw.normal()
        return Trained(one.features, self.log_ms(one), self.longer(one), observed)

    def searched(
        self,
        sampler: optuna.samplers.BaseSampler,
        seed: int,
        count: int,
        starts: Sequence[Candidate] = (),
    ) -> list[Trained]:
        """Search with a sampler, after networks that are asked first."""
        draw, candidates = np.random.default_rng(1000 + seed), self.setting.candidates
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        history: list[Trained] = []
        taken: set[str] = set()
        for one in starts:
            study.enqueue_trial(self.setting.space.params_of(one.architecture))
        for _ in range(count):
            trial = study.ask()
            asked = candidates.of(self.setting.space.sample(trial))
            one = self.pick(asked, taken)
            taken.add(one.architecture.digest)
            history.append(trained := self._trained(one, draw))
            study.tell(trial, [trained.observed, math.exp(trained.log_ms)])
        return history


def setting_of(space: SearchSpace) -> SamplerSetting:
    """A search of a space without limits."""
    walk = Walk(Guidelines({}), Budget(), {"arm": UserTarget(Known())}, None)  # type: ignore[arg-type]
    return SamplerSetting(space, walk, Guidelines({}), Audit(0.0), fused=True)


def fitted_truth(kind: str, features: np.ndarray, scores: np.ndarray) -> Pipeline:
    """Fit a model to trainings."""
    if kind == "trees":
        return ExtraTreesRegressor(100, min_samples_leaf=2, random_state=0).fit(features, scores)
    lengths = RBF(np.full(features.shape[1], 3.0), (0.3, 100))
    kernel = ConstantKernel() * lengths + WhiteKernel(0.3)
    return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel)).fit(features, scores)


def trainings(
    source: str, seen: bool = False
) -> tuple[SearchSpace, list[Architecture], list[float]]:
    """The space, networks and scores of trainings; of the table, all or the seen half."""
    if source == "curves":
        rows = [json.loads(line) for line in CURVES.read_text().splitlines()]
        networks = [architecture_from_document(row["architecture"]) for row in rows]
        scores = [-row["evaluation"]["loss"] for row in rows]
        return space_from_document(CURVES_SPACE, "curves"), networks, scores
    table = [one for one in truth_table.read_table() if not (seen and one.is_unseen)]
    scores = [statistics.fmean(e.score for e in one.short.values()) for one in table]
    return open_space(str(truth_table.SPACE)), [one.architecture for one in table], scores


def model_problem(source: str, kind: str, credit: float, seen: bool = False) -> Problem:
    """A problem whose truth is a model of trainings."""
    space, networks, scores = trainings(source, seen)
    setting = setting_of(space)
    features = np.array([setting.candidates.of(one).features for one in networks])
    standard = (np.array(scores) - np.mean(scores)) / np.std(scores)
    truth = fitted_truth(kind, features, standard)

    def expected(found: Sequence[Candidate]) -> Sequence[float]:
        values: Sequence[float] = truth.predict(np.array([one.features for one in found]))
        return values

    pool = setting.candidates.drawn(POOL, random.Random(0))
    return Problem(setting, expected, NOISE, pool, credit=credit)


METHODS: dict[str, Callable[[Problem, int], optuna.samplers.BaseSampler]] = {
    "nsga2": lambda problem, seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
    "tpe": lambda problem, seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda problem, seed: optuna.samplers.GPSampler(seed=seed),
    "ehvi": lambda problem, seed: EhviSampler(seed, problem.setting),
}


def curves(problem: Problem, method: str, seeds: int, count: int) -> np.ndarray:
    """The share of the ideal after each training, by seed: of shape (seeds, count)."""
    rows = []
    for seed in range(seeds):
        began = time.process_time()
        if method == "random":
            history = problem.drawn(seed, count)
        else:
            history = problem.searched(METHODS[method](problem, seed), seed, count)
        rows.append(problem.shares(history))
        shown = " ".join(f"{rows[-1][n - 1]:.3f}" for n in SHOWN if n <= count)
        spent = f"{method} {seed}: {shown} in {time.process_time() - began:.0f} s"
        print(f"  {spent} of CPU", file=sys.stderr, flush=True)
    return np.array(rows)


def line_of(rows: np.ndarray) -> str:
    """The mean share and its standard error at the numbers that are shown."""
    seeds, count = rows.shape
    shown = [number for number in SHOWN if number <= count]
    errors = rows.std(axis=0, ddof=1) / math.sqrt(seeds)
    return "  ".join(f"{n}: {rows[:, n - 1].mean():.3f} ± {errors[n - 1]:.3f}" for n in shown)


def reaches(rows: np.ndarray, level: float) -> str:
    """The trainings after which the mean share stays above a level."""
    below = np.flatnonzero(rows.mean(axis=0) < level)
    first = 1 if len(below) == 0 else int(below[-1]) + 2
    return str(first) if first <= rows.shape[1] else f"> {rows.shape[1]}"


@dataclass(frozen=True)
class Other:
    """Trainings of another study.

    Attributes:
        networks: Its networks, in the form of the space.
        scores: Their scores.
    """

    networks: Sequence[Candidate]
    scores: np.ndarray

    def front(self, problem: Problem) -> list[Candidate]:
        """The networks of its front that are points of the space."""
        found, best = [], -math.inf
        for place in np.argsort([problem.log_ms(one) for one in self.networks]):
            if self.scores[place] > best:
                best = self.scores[place]
                with contextlib.suppress(ConfigError):
                    problem.setting.space.params_of(self.networks[place].architecture)
                    found.append(self.networks[place])
        return found


def other_studies(problem: Problem, source: str, seed: int, count: int = 50) -> dict[str, Other]:
    """Studies that may inform a search of a problem."""
    _, networks, recorded = trainings("table" if source == "curves" else "curves", seen=True)
    space, draw = problem.setting.space, np.random.default_rng(seed)
    formed = [problem.setting.candidates.of(in_form_of(space, one)) for one in networks]
    chosen = [problem.pool[place] for place in draw.permutation(len(problem.pool))[:count]]
    scores = np.array([problem.score(one) + problem.noise * draw.normal() for one in chosen])
    return {
        "of other data": Other(formed, np.array(recorded)),
        "of the same data": Other(chosen, scores),
        "unrelated": Other(chosen, draw.permutation(scores)),
    }


def informed(problem: Problem, source: str, seeds: int, count: int) -> None:
    """Print what a search needs after another study, by its front and by its trainings."""
    long = curves(problem, "random", seeds, LONG)[:, -1].mean()
    rows: dict[str, list[list[float]]] = {}

    def search(name: str, seed: int, starts: Sequence[Candidate], setting: SamplerSetting) -> None:
        began = time.process_time()
        history = problem.searched(EhviSampler(seed, setting), seed, count, starts)
        shares = problem.shares(history)
        rows.setdefault(name, []).append(shares)
        print(f"  {name} {seed}: {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)

    for seed in range(seeds):
        search("alone", seed, (), problem.setting)
        for name, other in other_studies(problem, source, seed).items():
            front = other.front(problem)
            model = AccuracyModel.fitted(features_of(other.networks), other.scores)
            search(f"{name}, front", seed, front, problem.setting)
            setting = dataclasses.replace(problem.setting, informing=model)
            search(f"{name}, front and trainings", seed, front, setting)
            search(f"{name}, trainings", seed, (), setting)
    goal = np.array(rows["alone"])[:, -1].mean()
    for name, found in rows.items():
        every = np.array(found)
        needed = f"random's {LONG} in {reaches(every, long)}, alone's {count} in "
        print(f"{name:38s} {line_of(every)}  {needed}{reaches(every, goal)}", flush=True)


def timed_before(problem: Problem, seeds: int, count: int) -> None:
    """Print what measurements before the first training give, if latencies are not foretold.

    A measurement is within 3 %, as a deviation.
    """
    arm = problem.setting.walk.targets["arm"]
    walk = dataclasses.replace(
        problem.setting.walk, targets={"arm": UserTarget(Known(provenance="measured"))}
    )
    for first in (0, 6, 12, 24, 48):
        rows = []
        for seed in range(seeds):
            draw, setting = np.random.default_rng(seed), problem.setting
            if first:
                points = zscore(features_of(problem.pool[:DRAWN]), axis=0)
                chosen = spread(np.nan_to_num(points), first, points[:0])
                networks = [problem.pool[place] for place in chosen]
                ms = [arm.estimate(one.architecture).ms for one in networks]
                near = np.exp(0.03 * draw.normal(size=first))
                setting = dataclasses.replace(
                    setting, timed={"arm": list(zip(networks, ms * near, strict=True))}
                )
            sampler = EhviSampler(seed, dataclasses.replace(setting, walk=walk))
            history = problem.searched(sampler, seed, count)
            rows.append(problem.shares(history))
            print(f"  {first} first, {seed}", file=sys.stderr, flush=True)
        print(f"{first:2} timed first  {line_of(np.array(rows))}", flush=True)


def compare(problem: Problem, methods: Sequence[str], seeds: int, count: int) -> None:
    """Print what each method needs."""
    long = curves(problem, "random", seeds, LONG)
    print(f"random after {LONG}: {long[:, -1].mean():.3f}")
    found = {"random": long[:, :count]}
    for method in methods:
        if method != "random":
            found[method] = curves(problem, method, seeds, count)
    rivals = [n for n in (50, 100) if n <= count] if "tpe" in found else []
    for method, rows in found.items():
        goals = {f"random's {LONG}": long[:, -1].mean()}
        goals |= {f"tpe's {n}": found["tpe"][:, n - 1].mean() for n in rivals}
        needed = ", ".join(f"{name} in {reaches(rows, goal)}" for name, goal in goals.items())
        print(f"{method:8s} {line_of(rows)}  {needed}", flush=True)


@dataclass(frozen=True)
class Chosen(Candidates):
    """Some networks of a space, in place of all.

    Attributes:
        networks: The networks.
    """

    networks: Sequence[Architecture] = ()

    def drawn(self, count: int, generator: random.Random) -> list[Candidate]:
        """All of them."""
        return [self.of(one) for one in self.networks]

    def near(
        self, parents: Sequence[Candidate], count: int, generator: random.Random
    ) -> list[Candidate]:
        """None, since all are drawn."""
        return []


def table_problem(unseen: bool, credit: float) -> Problem:
    """A problem of choosing from the networks of the table, judged by their mean scores.

    A sampler of Optuna names any network; the nearest one by its features that was not trained is
    trained in its place.
    """
    table = [one for one in truth_table.read_table() if one.is_unseen == unseen]
    setting = setting_of(open_space(str(truth_table.SPACE)))
    networks = [one.architecture for one in table]
    candidates = Chosen(setting.space, Budget(), Guidelines({}), networks=networks)
    setting.__dict__["candidates"] = candidates
    scores = np.array([statistics.fmean(e.score for e in one.short.values()) for one in table])
    standard = dict(zip((n.digest for n in networks), zscore(scores), strict=True))
    pool = candidates.drawn(0, random.Random(0))
    features = np.array([one.features for one in pool])
    scale = features.std(axis=0) + 1e-9

    def nearest(asked: Candidate, taken: set[str]) -> Candidate:
        far = np.sum(((features - asked.features) / scale) ** 2, axis=1)
        every: Iterator[Candidate] = (pool[place] for place in np.argsort(far))
        return next(one for one in every if one.architecture.digest not in taken)

    def expected(found: Sequence[Candidate]) -> Sequence[float]:
        return [standard[one.architecture.digest] for one in found]

    return Problem(setting, expected, NOISE, pool, nearest, credit)


def latency_errors(seeds: int = 12) -> None:
    """Print the errors of the model of latency after some networks of the table.

    Some are drawn at random, as the first candidates, and others are the first measurements.
    """
    candidates = setting_of(open_space(str(truth_table.SPACE))).candidates
    table = [candidates.of(one) for one in truth_table.networks()]
    timed, counted = truth_table.latencies(), np.array([one.counted for one in table])
    features = features_of(table)
    points = np.nan_to_num(zscore(features, axis=0))
    for target in sorted({name for _, name in timed}):
        ms = np.array([timed[number, target]["ms"] for number in range(len(table))])
        for drawn, first in ((8, 0), (8, 12), (8, 24), (12, 0), (25, 0), (50, 0), (100, 0)):
            errors, claimed = [], []
            for seed in range(seeds):
                places = np.random.default_rng(seed).permutation(len(table))
                those = places[drawn:][:DRAWN]
                chosen = [those[one] for one in spread(points[those], first, points[:0])[:first]]
                known = np.array([*places[:drawn], *chosen])
                rest = np.setdiff1d(places, known)
                model = LatencyModel.fitted(counted[known], features[known], ms[known])
                missed = model.log_ms_at(counted[rest], features[rest]) - np.log(ms[rest])
                errors.append(float(np.sqrt(np.mean(missed**2))))
                claimed.append(model.deviation)
            shown = f"{statistics.fmean(errors):.1%}, claimed {statistics.fmean(claimed):.1%}"
            print(f"{target} after {drawn} networks and {first} measured first: {shown}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["models", "table", "latency", "measured", "from"])
    parser.add_argument("--sources", nargs="+", default=["curves", "table"])
    parser.add_argument("--truths", nargs="+", default=["gp", "trees"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=100)
    parser.add_argument("--longer", type=float, default=1.0, help="log ms in a longer training")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    if asked.what == "latency":
        latency_errors()
    elif asked.what == "table":
        for unseen in (False, True):
            problem = table_problem(unseen, asked.longer)
            print(f"table, {'un' * unseen}seen half: {len(problem.pool)} networks", flush=True)
            compare(problem, asked.methods, asked.seeds, min(asked.trainings, len(problem.pool)))
    else:
        for source, kind in product(asked.sources, asked.truths):
            print(f"{source}, {kind}, {asked.seeds} seeds", flush=True)
            problem = model_problem(source, kind, asked.longer, asked.what == "from")
            if asked.what == "measured":
                timed_before(problem, asked.seeds, asked.trainings)
            elif asked.what == "from":
                informed(problem, source, asked.seeds, asked.trainings)
            else:
                compare(problem, asked.methods, asked.seeds, asked.trainings)


if __name__ == "__main__":
    main()
