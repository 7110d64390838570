"""The shipped table against whole networks under emulation, and against published speeds."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arm_table.emulator import Emulator, Run
from arm_table.published import rows
from arm_table.samples import Overhead, write_model
from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernel_table import Table
from nas_sv2.latency.kernels import kernels_of
from nas_sv2.space.architecture import KERNELS, Architecture, Stage
from nas_sv2.space.cost import cost_of
from nas_sv2.space.graph import Graph
from nas_sv2.space.lowering import lower
from nas_sv2.space.reference import reference
from nas_sv2.space.shuffle_free import without_shuffles

REFERENCES = (
    *(f"shufflenet_v2_x{scale}" for scale in ("0_5", "1_0", "1_5", "2_0")),
    "shufflenet_v2_se_x1_0", "shufflenet_v2_residual_x1_0", "shufflenet_v2_star_x0_5",
    "torchvision_shufflenet_v2_x1_0",
)  # fmt: skip
RANDOM_NETWORKS, SEED = 12, 2
MOST_FLOPS = 350e6  # about four seconds of emulation
EQUAL_FLOPS_WITHIN = 1.3  # as the research note compares networks of "equal" FLOPs


Numbers = NDArray[np.float64]


def check(emulator: Emulator) -> None:
    """Print both comparisons."""
    table = Table.load()
    overhead = Overhead(**table.metadata["overhead"])
    _against_emulation(emulator, table, overhead)
    _against_paper(emulator, table, overhead)


def _against_emulation(emulator: Emulator, table: Table, overhead: Overhead) -> None:
    networks = dict(_networks())
    runs = _emulate(emulator, networks, "check")
    print(f"{'network':38s} {'MFLOPs':>7s} {'emulated':>9s} {'table':>8s}  error  outputs")
    errors = []
    for (name, graph), run in zip(networks.items(), runs, strict=True):
        emulated = run.cycles - overhead.per_run
        priced = sum(map(table.cycles, kernels_of(graph)))
        errors.append(priced / emulated - 1)
        print(
            f"{name:38s} {cost_of(graph).flops / 1e6:7.1f} {emulated / 1e6:9.3f} "
            f"{priced / 1e6:8.3f} {errors[-1]:+6.2%}  {_difference(emulator, run):.0e}"
        )
    print(
        f"Mcycles of whole inferences; error of the table: mean {np.mean(np.abs(errors)):.2%}, "
        f"worst {max(map(abs, errors)):.2%}; outputs: relative difference from this machine's\n"
    )


def _against_paper(emulator: Emulator, table: Table, overhead: Overhead) -> None:
    published = list(rows())
    runs = _emulate(emulator, {row.name: row.graph for row in published}, "published")
    emulated = np.array([run.cycles - overhead.per_run for run in runs]) / table.cycles_per_ms
    flops = np.array([float(cost_of(row.graph).flops) for row in published])
    truth = np.array([row.ms for row in published])
    by_flops = flops * np.exp(np.mean(np.log(truth / flops)))
    print(f"{'row of Table 8':24s} MFLOPs published emulated  ratio  FLOPs×scale")
    for row, ours, work, scaled in zip(published, emulated, flops, by_flops, strict=True):
        print(
            f"{row.name:24s} {work / 1e6:6.0f} {row.ms:6.1f} ms {ours:5.1f} ms "
            f"{ours / row.ms:6.2f} {scaled / row.ms:12.2f}"
        )
    for name, guess in (("emulated", emulated), ("FLOPs", by_flops)):
        off = np.abs(guess / truth - 1)
        print(
            f"{name}: mean error {off.mean():.1%}, worst {off.max():.1%}, pairs of equal FLOPs "
            f"in order {_pairs_in_order(guess, truth, flops):.0%}"
        )


def _pairs_in_order(guess: Numbers, truth: Numbers, flops: Numbers) -> float:
    verdicts: list[bool] = [
        bool((guess[a] < guess[b]) == (truth[a] < truth[b]))
        for a in range(len(truth))
        for b in range(a)
        if max(flops[a], flops[b]) < EQUAL_FLOPS_WITHIN * min(flops[a], flops[b])
    ]
    return sum(verdicts) / len(verdicts)


def _emulate(emulator: Emulator, networks: dict[str, Graph], work: str) -> Sequence[Run]:
    folder = emulator.folder / "work" / work
    models = [write_model(name, graph, folder) for name, graph in networks.items()]
    return emulator.run(models, folder, profile=False)


def _difference(emulator: Emulator, run: Run) -> float:
    """How far the emulated output is from this machine's, relative to the largest."""
    path = emulator.folder / "work" / "check" / f"{run.model}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    feed = np.random.default_rng(0).standard_normal(value.shape, np.float32)
    here = session.run(None, {value.name: feed})[0].ravel()[:1000]
    return float(np.abs(here - np.array(run.output)).max() / np.abs(here).max())


def _networks() -> Iterator[tuple[str, Graph]]:
    """References as written and without shuffles, then random networks in turns."""
    for name in REFERENCES:
        graph = lower(reference(name))
        yield name, graph
        yield f"{name}_unshuffled", without_shuffles(graph, {})[0]
    generator = random.Random(SEED)
    for index in range(RANDOM_NETWORKS):
        graph = lower(_random_architecture(generator))
        unshuffled = index % 2 == 1
        name = f"random_{index}_at_{graph.input.height}" + "_unshuffled" * unshuffled
        yield name, without_shuffles(graph, {})[0] if unshuffled else graph


def _random_architecture(generator: random.Random) -> Architecture:
    """Options, widths and resolution drawn anew until the network is valid and small enough."""
    while True:
        stages = tuple(
            Stage(
                depth=generator.randint(1, 6),
                width=2 * generator.randint(12 * 2**index, 56 * 2**index),
                split=Fraction(generator.choice((2, 3, 4, 5, 6)), 8),
                kernel=generator.choice(KERNELS),
                se=generator.random() < 0.3,
                residual=generator.random() < 0.3,
                wide_field=generator.random() < 0.3,
            )
            for index in range(3)
        )
        stem, head = generator.choice((8, 16, 21, 24, 32)), generator.choice((512, 768, 1024))
        side, classes = generator.choice((128, 160, 192, 224)), generator.choice((10, 100, 1000))
        try:
            drawn = Architecture((stem,), stages, head, side, classes=classes)
        except ConfigError:
            continue
        if cost_of(lower(drawn)).flops < MOST_FLOPS:
            return drawn
