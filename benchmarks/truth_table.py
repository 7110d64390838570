"""A table of truth: networks of one space with their trainings and their latencies.

`benchmarks/table` has the space, the recipes and what was measured. Questions about samplers,
models of accuracy and early stops are answered on it in seconds, without a training.

- 240 networks of 1 to 8 MFLOPs at 32×32, 40 in each sixth of that range in logarithms.
- Each has one short training; the first 40 have three, with seeds of their own; the first 24
  also have one that is four times as long. Whole curves are kept.
- Half of the networks, by the first digit of their digest, are `unseen`: nothing is chosen by
  them, and quoted figures are theirs.

    python benchmarks/truth_table.py train --data imagefolder:cifar10 --workers 2
    nas-sv2 device add --project a76 --core cortex-a76
    python benchmarks/truth_table.py latency --targets arm,a76,cpu
    python benchmarks/truth_table.py show

Each command goes on where it was ended. A training has one thread. Trainings are kept in
`benchmarks/table/trainings.jsonl.xz`, latencies in `latencies.jsonl`.
"""

import argparse
import dataclasses
import json
import lzma
import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.files import write_whole
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.process_pool import in_processes
from nas_sv2.space.choices.levels import open_space
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

FOLDER = Path(__file__).parent / "table"
TRAININGS, LATENCIES = FOLDER / "trainings.jsonl.xz", FOLDER / "latencies.jsonl"
SPACE = FOLDER / "space.yaml"
LEAST_FLOPS, MOST_FLOPS, SIXTHS, IN_EACH = 1e6, 8e6, 6, 40
SEVERAL_SEEDS, SEEDS, LONGER = 40, 3, 24


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """A training of the table: the recipe's name, the seed, and the number of the network."""

    recipe: str
    seed: int
    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table says of a network.

    Attributes:
        architecture: The network.
        flops: Multiply-adds.
        short: Its short trainings, by seed.
        long: Its long trainings, by seed.
        latencies_ms: Its time on each target, by name.
    """

    architecture: Architecture
    flops: int
    short: dict[int, Evaluation]
    long: dict[int, Evaluation]
    latencies_ms: dict[str, float]

    @property
    def is_unseen(self) -> bool:
        """Whether nothing may be chosen by this network."""
        return int(self.architecture.digest[0], 16) % 2 == 1


@cache
def networks() -> tuple[Architecture, ...]:
    """The 240 networks, in an order in which every beginning covers the range of FLOPs."""
    space, drawn = open_space(str(SPACE)), random.Random(0)
    bins: list[list[Architecture]] = [[] for _ in range(SIXTHS)]
    seen: set[str] = set()
    while min(map(len, bins)) < IN_EACH:
        network = space.sample(RandomSuggester(drawn))
        flops = cost_of(lower(network)).flops
        if not LEAST_FLOPS <= flops < MOST_FLOPS or network.digest in seen:
            continue
        seen.add(network.digest)
        share = math.log(flops / LEAST_FLOPS) / math.log(MOST_FLOPS / LEAST_FLOPS)
        if len(into := bins[int(share * SIXTHS)]) < IN_EACH:
            into.append(network)
    return tuple(network for row in zip(*bins, strict=True) for network in row)


def orders() -> list[Order]:
    """All trainings, those first that say most."""
    first = [Order("short", 0, number) for number in range(SIXTHS * IN_EACH)]
    longer = [Order("long", 0, number) for number in range(LONGER)]
    again = [Order("short", seed, n) for n, seed in product(range(SEVERAL_SEEDS), range(1, SEEDS))]
    return [*first, *longer, *again]


def trainings() -> dict[Order, Evaluation]:
    """The trainings that were kept."""
    if not TRAININGS.exists():
        return {}
    rows = map(json.loads, lzma.decompress(TRAININGS.read_bytes()).decode().splitlines())
    return {
        Order(row["recipe"], row["seed"], row["number"]): Evaluation.from_json(
            json.dumps(row["evaluation"])
        )
        for row in rows
    }


def keep(done: Mapping[Order, Evaluation]) -> None:
    """Write all trainings, in order."""
    rows = (
        {
            **dataclasses.asdict(order),
            "digest": networks()[order.number].digest,
            "evaluation": dataclasses.asdict(_without_place(done[order])),
        }
        for order in sorted(done)
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(TRAININGS, lzma.compress(text.encode()))


def _without_place(evaluation: Evaluation) -> Evaluation:
    """Name the data by the last part of their path; the digits of their content stay."""
    spec, _, key = evaluation.data.rpartition("@")
    kind, _, place = spec.partition(":")
    return dataclasses.replace(evaluation, data=f"{kind}:{Path(place).name}@{key}")


def latencies() -> dict[tuple[int, str], dict[str, Any]]:
    """What was timed, by number of the network and target."""
    if not LATENCIES.exists():
        return {}
    rows = map(json.loads, LATENCIES.read_text().splitlines())
    return {(row["number"], row["target"]): row for row in rows}


def read_table() -> list[Entry]:
    """The networks that have a short training, with all that is known of them."""
    done, timed = trainings(), latencies()
    entries = []
    for number, network in enumerate(networks()):
        short = {o.seed: e for o, e in done.items() if (o.recipe, o.number) == ("short", number)}
        long = {o.seed: e for o, e in done.items() if (o.recipe, o.number) == ("long", number)}
        ms = {target: row["ms"] for (n, target), row in timed.items() if n == number}
        if short:
            entries.append(Entry(network, cost_of(lower(network)).flops, short, long, ms))
    return entries


@cache
def _data(spec: str) -> ImageData:
    return open_data(spec, resolution=open_space(str(SPACE)).resolution)


def _train(spec: str, order: Order) -> Evaluation:
    """Train one network with one thread, in a process of its own."""
    recipe = open_recipe(str(FOLDER / f"{order.recipe}.yaml"))
    training = ProxyTraining(recipe, _data(spec), seed=order.seed, threads=1)
    return training.evaluate(networks()[order.number])


def train(spec: str, workers: int) -> None:
    """Make the trainings that are missing; each is kept when it has ended."""
    done = trainings()
    missing = [order for order in orders() if order not in done]
    _data(spec)  # decoded once
    for order, found in in_processes(partial(_train, spec), missing, workers, "trains a network"):
        done[order] = found
        keep(done)
        line = f"{len(done)}/{len(orders())} {order} {found.score:.4f}"
        print(f"{line} {found.seconds:.0f} s", flush=True)


def time_networks(targets: str) -> None:
    """Time the networks that are missing, on each target."""
    book, known = TargetBook.read(), latencies()
    for target in book.names(targets):
        device = book.open(target)
        with LATENCIES.open("a") as file:
            for number, network in enumerate(networks()):
                if (number, target) not in known:
                    found = dataclasses.asdict(device.estimate(network))
                    row = {"number": number, "digest": network.digest, "target": target, **found}
                    file.write(json.dumps(row) + "\n")
                    file.flush()
        device.close()


def show() -> None:
    """Print what there is."""
    table = read_table()
    for name, unseen in (("seen", False), ("unseen", True)):
        half = [entry for entry in table if entry.is_unseen == unseen]
        if len(half) < 2:
            continue
        scores = [entry.short[0].score for entry in half]
        flops = [math.log(entry.flops) for entry in half]
        tau = kendalltau(flops, scores).statistic
        mean, spread = statistics.fmean(scores), statistics.stdev(scores)
        print(
            f"{name}: {len(half)} networks, {sum(len(e.short) > 1 for e in half)} of several "
            f"seeds, {sum(bool(e.long) for e in half)} with a long training; score {mean:.3f} "
            f"± {spread:.3f}, tau with FLOPs {tau:.2f}"
        )


def main() -> None:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--data", required=True)
    training.add_argument("--workers", type=int, default=1)
    commands.add_parser("latency").add_argument("--targets", required=True)
    commands.add_parser("show")
    asked = parser.parse_args()
    if asked.command == "train":
        train(asked.data, asked.workers)
    elif asked.command == "latency":
        time_networks(asked.targets)
    else:
        show()


if __name__ == "__main__":
    main()
