"""How well latency is predicted: a fit from 60 networks, and 60 others that are then measured.

The others are drawn at random and measured twice, in other company each time, because a slow spell
of the machine moves single ratios by some percent. Predictions are held against both, and the two
against each other, which is as near as a perfect predictor would come.

    python benchmarks/predictor.py [SPACE]
"""

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas_sv2.database.database import Database
from nas_sv2.errors import MeasurementError
from nas_sv2.latency.devices.local import CPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.predictor.fit import NETWORKS, SEED, TOGETHER, report_on
from nas_sv2.latency.predictor.predicted_target import open_predicted
from nas_sv2.latency.predictor.predictor import Predictor, at_usual_pace
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.probe_networks import latin_hypercube
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.choices.suggesters import RandomSuggester
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

OTHERS = 60
Ratios = dict[str, tuple[float, float]]
"""By digest: the ratio as measured, and at the usual pace of the device."""


def main() -> None:
    """Print errors, rank correlation and coverage."""
    space = named_space(sys.argv[1] if sys.argv[1:] else "140M")
    with tempfile.TemporaryDirectory() as folder, local_device("cpu") as device:
        store = MeasurementStore(Database.open(f"sqlite:///{Path(folder) / 'own.db'}"))
        target = MeasuredTarget(MeasuredDevice("cpu", device, CPU_PLAN, store))
        began = time.monotonic()
        predicted = open_predicted(target, space)
        predictor = predicted.predictor
        print(f"{predicted.description}; space {space.name}; load {_load()}")
        seconds = time.monotonic() - began
        print(f"fitted from {predictor.report.networks} networks and a bag in {seconds:.0f} s")
        print(f"its own report: {predictor.report.describe()}")
        others = _others(space)
        known = [network for network in others if _is_known(predictor, network)]
        print(f"{OTHERS} other random networks, {OTHERS - len(known)} of them refused")
        first = _measured(target.device, known, predictor)
        print(f"measured; load {_load()}")
        again = _measured(target.device, random.Random(1).sample(known, len(known)), predictor)
        print(f"measured again; load {_load()}")
        line = _line_on_flops(target, space)
        store.db.close()
    flops = np.array([float(cost_of(lower(network)).flops) for network in known])
    found = [predictor.predict(network) for network in known]
    ratios = np.array([prediction.ratio for prediction in found])
    for place, what in enumerate(("as measured", "at the device's usual pace")):
        one, other = (
            np.array([by_digest[network.digest][place] for network in known])
            for by_digest in (first, again)
        )
        print(what)
        for name, truth in (("once", one), ("again", other), ("mean of both", (one + other) / 2)):
            inside = [p.low <= r <= p.high for p, r in zip(found, truth, strict=True)]
            print(f"  predicted, {name}: {_errors(ratios, truth)}, {np.mean(inside):.0%} inside")
        print(f"  measured again for measured: {_errors(other, one)}")
        print(f"  a line on FLOPs: {_errors(np.polyval(line, flops), (one + other) / 2)}")


def _others(space: SearchSpace) -> list[Architecture]:
    """Random networks that the fit does not take."""
    found = {network.digest for network in latin_hypercube(space, NETWORKS, SEED)}
    suggester = RandomSuggester(random.Random(2024))
    others: list[Architecture] = []
    while len(others) < OTHERS:
        network = space.sample(suggester)
        if network.digest not in found:
            found.add(network.digest)
            others.append(network)
    return others


def _is_known(predictor: Predictor, network: Architecture) -> bool:
    try:
        predictor.predict(network)
    except MeasurementError as refusal:
        print(f"  {refusal}")
        return False
    return True


def _measured(
    device: MeasuredDevice, networks: Sequence[Architecture], predictor: Predictor
) -> Ratios:
    ratios: Ratios = {}
    for start in range(0, len(networks), TOGETHER):
        for measurement in device.measure_together(networks[start : start + TOGETHER]):
            assert measurement.ratio is not None
            assert measurement.reference_ms is not None
            ratio, usual_ms = measurement.ratio[0], predictor.reference_ms
            ratios[measurement.architecture] = (
                ratio,
                at_usual_pace(ratio, measurement.reference_ms, usual_ms, predictor.slowness_power),
            )
    return ratios


def _line_on_flops(target: MeasuredTarget, space: SearchSpace) -> np.ndarray:
    """The line through the networks of the fit, whose measurements are stored."""
    networks = latin_hypercube(space, NETWORKS, SEED)
    ratios = [target.estimate(network).ratio or 0.0 for network in networks]
    flops = [cost_of(lower(network)).flops for network in networks]
    return np.polyfit(flops, ratios, 1)


def _errors(predicted: np.ndarray, measured: np.ndarray) -> str:
    report = report_on(predicted, measured, 0.0)
    typical = np.std(predicted / measured - 1)
    low, high = report.spearman_ci
    return (
        f"{report.within_5:.0%} within ±5 %, {report.within_10:.0%} within ±10 %, typical error "
        f"{typical:.1%}, Spearman {report.spearman:.4f} ({low:.4f}–{high:.4f})"
    )


def _load() -> str:
    return Path("/proc/loadavg").read_text(encoding="utf-8").split()[0]


if __name__ == "__main__":
    main()
