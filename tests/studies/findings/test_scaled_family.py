"""A finalist beside curves whose values are known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.statistics import Judgement
from nas_sv2.studies.findings.scaled_family import FamilyCurve, FamilyGain

TOP_1 = facts_of("accuracy")
LATENCIES = (1.0, 1.5, 2.0, 3.0, 4.0)
SEEDS = (-0.004, 0.0, 0.004)  # what each seed does to every network
OWN = (0.001, -0.002, 0.001)  # what it does to the finalist alone


def curve(ms: float, slope: float = 0.03, bend: float = -0.005) -> float:
    """Three points a doubling, and less and less."""
    doublings = math.log2(ms)
    return 0.7 + slope * doublings + bend * doublings**2


def beside(
    ours_ms: float, ours: float, own: Sequence[float] = OWN, least: float = 0.01
) -> FamilyCurve:
    return FamilyCurve(
        LATENCIES,
        [[curve(ms) + seed for seed in SEEDS] for ms in LATENCIES],
        ours_ms,
        [ours + seed + noise for seed, noise in zip(SEEDS, own, strict=True)],
        1e-4,
        least,
    )


def found(family: FamilyCurve, settled: bool = True) -> FamilyGain:
    return family.judged(Judgement(0.05, settled))


def test_the_curve_is_read_at_equal_latency_and_at_equal_accuracy() -> None:
    gain = found(beside(1.5, curve(3.0)))
    assert gain.mean == pytest.approx(curve(3.0) - curve(1.5))
    assert gain.speed_up == pytest.approx(2.0, rel=1e-3)
    assert gain.misfit == pytest.approx(0, abs=1e-12)
    assert gain.verdict == "better"
    # Student's t of the three differences, whose deviation is that of OWN: t(0.975, 2) = 4.3027.
    reach = 4.30265 * math.sqrt(3) * 0.001 / math.sqrt(3)
    assert (gain.low, gain.high) == pytest.approx((gain.mean - reach, gain.mean + reach), rel=1e-4)


def test_the_interval_of_the_speed_up_is_where_the_curve_is_not_told_apart() -> None:
    gain = found(beside(1.5, curve(2.0)))
    reach = 4.30265 * 0.001
    assert gain.speed_up_low is not None and gain.speed_up_high is not None
    assert curve(1.5 * gain.speed_up_low) == pytest.approx(curve(2.0) - reach, abs=2e-4)
    assert curve(1.5 * gain.speed_up_high) == pytest.approx(curve(2.0) + reach, abs=2e-4)
    assert (gain.low > 0) == (gain.speed_up_low > 1)


def test_slower_is_worse() -> None:
    gain = found(beside(3.0, curve(1.5)))
    assert gain.verdict == "worse"
    assert gain.speed_up == pytest.approx(0.5, rel=1e-3)
    assert "0.50 times as fast at equal accuracy (95 % " in gain.describe(TOP_1)
    assert gain.describe(TOP_1).endswith(": worse")


def test_what_is_not_more_than_chance_or_than_the_latencies_errors_is_a_tie() -> None:
    assert found(beside(1.5, curve(3.0)), settled=False).verdict == "tie"
    small = beside(2.0, curve(2.16), (0.0, 0.0, 0.0), least=0.1)  # emulated: a tie within 10 %
    assert found(small).speed_up == pytest.approx(1.08, rel=1e-2)
    assert found(small).verdict == "tie"


def test_beyond_the_curve_is_said_and_not_read() -> None:
    above = found(beside(2.0, 0.8))
    assert (above.speed_up, above.speed_up_high, above.verdict) == (None, None, "better")
    assert above.speed_up_low == pytest.approx(2.0, rel=1e-3)  # the slowest takes twice as long
    beyond = "the curve of the widths stays {} its accuracy (95 % {} times); "
    assert above.describe(TOP_1).startswith(beyond.format("below", "at least 2.00"))
    below = found(beside(2.0, 0.6))
    assert (below.speed_up, below.speed_up_low, below.verdict) == (None, None, "worse")
    assert below.speed_up_high == pytest.approx(0.5, rel=1e-3)
    assert below.describe(TOP_1).startswith(beyond.format("above", "at most 0.50"))
    # A score of an error is negated: the curve of its figures is on the other side.
    mae = facts_of("mae")
    assert above.describe(mae).startswith("the curve of the widths stays above its MAE (")
    assert below.describe(mae).startswith("the curve of the widths stays below its MAE (")
    noisy = found(beside(2.0, curve(2.2), (-0.3, 0.0, 0.3)))
    said = noisy.describe(TOP_1)
    assert "times as fast at equal accuracy (95 % unbounded by these widths); " in said
    assert beside(2.0, 0.7).covers
    assert not beside(0.9, 0.7).covers and not beside(4.1, 0.7).covers


def test_of_finalists_on_the_curve_one_in_twenty_is_called_off_it() -> None:
    generator = np.random.default_rng(0)
    chances = []
    for _ in range(1000):
        noise = generator.normal(0, 0.01, (len(LATENCIES), 3))
        own = generator.normal(curve(2.0), 0.01, 3)
        family = FamilyCurve(
            LATENCIES,
            [
                [curve(ms) + each for each in row]
                for ms, row in zip(LATENCIES, noise, strict=False)
            ],
            2.0,
            own.tolist(),
            1e-4,
            0.01,
        )
        chances.append(family.here.chance)
    assert np.mean(np.array(chances) <= 0.05) == pytest.approx(0.05, abs=0.02)
