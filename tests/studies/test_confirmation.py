"""What a confirmation may claim: Student's interval by seed, Holm over finalists."""

import dataclasses
import itertools
import json
import math
import statistics
from typing import Any

import pytest
from doubles import latency_of
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2.errors import StoreError
from nas_sv2.studies.confirmation import (
    AccuracyGain,
    Confirmation,
    Confirmed,
    Finding,
    LatencyGain,
    Verdict,
    accuracy_gains,
)
from nas_sv2.studies.confirmation_store import confirmation_lines, newest_findings

IMAGES = 10_000


def accuracy(verdict: Verdict) -> AccuracyGain:
    return AccuracyGain((0.01, 0.012, 0.008), 0.005, 0.015, 0.01, verdict)


def latency(verdict: Verdict) -> LatencyGain:
    return LatencyGain(0.9, (0.88, 0.92), "measured", True, verdict, "timed in alternation")


def confirmation_of(finding: Finding, **changes: Any) -> Confirmation:
    networks = tuple(
        Confirmed(name, digest, trial, (0.9, 0.91, 0.92), (0.3, 0.3, 0.3), {"cpu": latency_of(2)})
        for name, digest, trial in (("aa", "aa", 3), ("shufflenet_v2_x1_0", "bb", None))
    )
    plain = Confirmation(
        against="shufflenet_v2_x1_0",
        recipe="long",
        recipe_digest="d" * 16,
        data="animals@0",
        test_images=IMAGES,
        seeds=(1, 2, 3),
        longer=4.0,
        networks=networks,
        findings=(finding,),
        at="2026-01-02T00:00:00+00:00",
        place="cpu, 1 threads",
    )
    return dataclasses.replace(plain, **changes)


def test_the_interval_is_student_s_of_the_paired_differences() -> None:
    # Differences 1, 2 and 3 points: mean 2, deviation 1, t(0.975, 2) = 4.3027.
    (gain,) = accuracy_gains([(0.91, 0.93, 0.95)], (0.90, 0.91, 0.92), IMAGES)
    assert gain.mean == pytest.approx(0.02)
    reach = 4.30265 * 0.01 / math.sqrt(3)
    assert (gain.low, gain.high) == pytest.approx((0.02 - reach, 0.02 + reach), rel=1e-4)
    # t = 2 √3 = 3.4641: with 2 degrees of freedom, p = 1 - t / √(t² + 2).
    assert gain.chance == pytest.approx(1 - 3.4641 / math.sqrt(14), rel=1e-3)
    assert gain.verdict == "tie"


def test_what_a_seed_does_to_both_networks_cancels() -> None:
    baseline = (0.70, 0.80, 0.90)
    (gain,) = accuracy_gains([(0.711, 0.810, 0.909)], baseline, IMAGES)
    assert gain.verdict == "better"
    (gain,) = accuracy_gains([(0.689, 0.790, 0.891)], baseline, IMAGES)
    assert gain.verdict == "worse"


def test_three_equal_differences_of_one_image_are_no_proof() -> None:
    """Accuracies are counts: a deviation of zero is not the absence of noise."""
    (gain,) = accuracy_gains([(0.51, 0.51, 0.51)], (0.50, 0.50, 0.50), 100)
    assert (gain.verdict, gain.low < 0) == ("tie", True)
    (gain,) = accuracy_gains([(0.9, 0.9, 0.9)], (0.9, 0.9, 0.9), 100)
    assert (gain.mean, gain.chance) == (0, 1)


def test_several_finalists_are_judged_together() -> None:
    """p of 0.03 each: one alone would be claimed, two of them together are not."""
    ratio = 4.30265 * 1.28  # p about 0.031
    step = 0.01
    differences = [step * (ratio / math.sqrt(3) + shift) for shift in (-1, 0, 1)]
    one = tuple(0.5 + difference for difference in differences)
    baseline = (0.5, 0.5, 0.5)
    (alone,) = accuracy_gains([one], baseline, IMAGES)
    assert 0.025 < alone.chance < 0.05
    assert alone.verdict == "better"
    assert [gain.verdict for gain in accuracy_gains([one, one], baseline, IMAGES)] == ["tie"] * 2
    sure = tuple(0.7 + difference / 20 for difference in differences)
    both = accuracy_gains([one, sure], baseline, IMAGES)
    assert [gain.verdict for gain in both] == ["better", "better"]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 1000), min_size=3, max_size=6).flatmap(
        lambda one: st.tuples(
            st.just(one), st.lists(st.integers(0, 1000), min_size=len(one), max_size=len(one))
        )
    )
)
def test_a_claim_is_made_where_the_interval_leaves_zero_out(
    counts: tuple[list[int], list[int]],
) -> None:
    ours, theirs = ([count / 1000 for count in side] for side in counts)
    (gain,) = accuracy_gains([ours], theirs, 1000)
    (back,) = accuracy_gains([theirs], ours, 1000)
    assert gain.mean == pytest.approx(statistics.fmean(ours) - statistics.fmean(theirs))
    assert (back.low, back.high) == pytest.approx((-gain.high, -gain.low))
    assert (gain.low > 0) == (gain.verdict == "better")
    assert (gain.high < 0) == (gain.verdict == "worse")


VERDICTS: tuple[Verdict, ...] = ("better", "tie", "worse")


@pytest.mark.parametrize(("good", "fast"), list(itertools.product(VERDICTS, VERDICTS)))
def test_a_claim_is_better_in_one_and_worse_in_none(good: Verdict, fast: Verdict) -> None:
    finding = Finding(3, "aa", accuracy(good), {"cpu": latency(fast)})
    expected = {
        ("better", "better"): "both",
        ("better", "tie"): "more accurate",
        ("tie", "better"): "faster",
    }
    assert finding.claim == expected.get((good, fast), "no claim")
    text = confirmation_of(finding).describe(finding)
    assert text.startswith("trial 3 ")
    assert ("beats shufflenet_v2_x1_0:" in text) == (finding.claim == "both")
    assert ("faster than shufflenet_v2_x1_0, accuracies not told apart" in text) == (
        finding.claim == "faster"
    )
    assert ("more accurate than shufflenet_v2_x1_0, not shown to be faster" in text) == (
        finding.claim == "more accurate"
    )
    assert ("not shown to beat shufflenet_v2_x1_0" in text) == (finding.claim == "no claim")
    assert "× 0.900 (95 % 0.880 to 0.920), measured, contended" in text
    assert "+1.00 points, 95 % +0.50 to +1.50" in text


def test_faster_is_claimed_only_if_it_is_so_on_every_target() -> None:
    on_one = Finding(3, "aa", accuracy("tie"), {"a": latency("better"), "b": latency("tie")})
    on_both = Finding(3, "aa", accuracy("tie"), {"a": latency("better"), "b": latency("better")})
    assert (on_one.claim, on_both.claim) == ("no claim", "faster")


def test_what_was_written_is_read_again_and_what_is_none_is_refused() -> None:
    found = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    assert Confirmation.from_json(json.loads(json.dumps(found.to_json()))) == found
    for broken in ({}, {**found.to_json(), "findings": [{}]}, {**found.to_json(), "more": 1}):
        with pytest.raises(StoreError, match="confirmation cannot be read"):
            Confirmation.from_json(broken)


def test_the_newest_finding_of_a_network_is_stated() -> None:
    first = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    later = confirmation_of(
        Finding(3, "aa", accuracy("tie"), {"cpu": latency("tie")}), recipe="longer"
    )
    assert newest_findings([first, later])["aa"][0] is later
    claim, method = confirmation_lines([first, later])
    assert claim.startswith("confirmed 2026-01-02: trial 3 not shown to beat")
    assert "recipe longer (4 × the search's image passes), seeds 1, 2, 3" in method
    assert confirmation_lines([first], "aa") == confirmation_lines([first])
    assert confirmation_lines([first], "bb") == confirmation_lines([]) == []
