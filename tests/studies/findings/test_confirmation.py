"""What a confirmation may claim, and what it says of it."""

import dataclasses
import itertools
import json
from typing import Any

import pytest
from doubles import latency_of

from nas_sv2.errors import StoreError
from nas_sv2.studies.findings.confirmation import (
    AccuracyGain,
    Confirmation,
    Confirmed,
    Finding,
    LatencyGain,
    Verdict,
)
from nas_sv2.studies.storage.confirmation_store import confirmation_lines, newest_findings

IMAGES = 10_000


def accuracy(verdict: Verdict) -> AccuracyGain:
    return AccuracyGain((0.01, 0.012, 0.008), 0.005, 0.015, 0.01, verdict, 0.05)


def latency(verdict: Verdict) -> LatencyGain:
    return LatencyGain(
        0.9, (0.88, 0.92), "measured", True, verdict, "timed in alternation", 0.001, 0.025
    )


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
        together=2,
    )
    return dataclasses.replace(plain, **changes)


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
    assert "× 0.900 (97.5 % 0.880 to 0.920), measured, contended" in text
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


def test_one_of_before_all_was_judged_together_is_read_and_says_so() -> None:
    finding = Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")})
    data = confirmation_of(finding).to_json()
    for name in ("longest", "together"):
        del data[name]
    del data["findings"][0]["accuracy"]["level"]
    for name in ("chance", "level"):
        del data["findings"][0]["latency"]["cpu"][name]
    old = Confirmation.from_json(json.loads(json.dumps(data)))
    text = old.describe(old.findings[0])
    assert "(95 % alone 0.880 to 0.920)" in text
    assert "points, 95 % alone +0.50 to +1.50" in text
    assert "accuracies and times apart" in old.method
    assert "2 comparisons with shufflenet_v2_x1_0 judged together" in (
        confirmation_of(finding).method
    )


def test_finalists_whose_search_had_unlike_lengths_give_a_range() -> None:
    finding = Finding(3, "aa", accuracy("tie"), {})
    assert "(4 × the search" in confirmation_of(finding).method
    assert "(4 to 9.5 × the search" in confirmation_of(finding, longest=9.5).method


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
