"""What is more than chance: Student's t by seed, the sign test by round, Holm over all of them."""

import dataclasses
import io
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from doubles import latency_of
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from nas_sv2.errors import StoreError
from nas_sv2.latency.measurements.head_to_head import ComparedPair, PricedPair, TimedPair
from nas_sv2.show.study_tables import confirmation_notes, confirmation_table
from nas_sv2.statistics import judge_together
from nas_sv2.studies.findings.attributes import CONFIRMATIONS
from nas_sv2.studies.findings.confirmation import (
    WRONG,
    Confirmation,
    Confirmed,
    Finalist,
    Finding,
    LatencyGain,
    ScoreGain,
    judge_finalists,
)
from nas_sv2.studies.findings.paired import Paired, Verdict, step_of
from nas_sv2.studies.storage.confirmation_store import (
    confirmation_lines,
    confirmations_of,
    keep,
    newest_findings,
)

IMAGES = 10_000


def accuracy(verdict: Verdict) -> ScoreGain:
    return ScoreGain((0.01, 0.012, 0.008), 0.005, 0.015, 0.01, verdict, 0.05)


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
        ("better", "tie"): "better score",
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
        finding.claim == "better score"
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
    for broken in ({}, {**found.to_json(), "findings": [{}]}):
        with pytest.raises(StoreError, match=r"read: .*; nas-sv2 study confirm removes it, and"):
            Confirmation.from_json(broken)
    with pytest.raises(StoreError, match=r"is of another version of nas-sv2: it has more$"):
        Confirmation.from_json({**found.to_json(), "more": 1})


def test_a_damaged_confirmation_counts_as_none_and_the_next_replaces_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    other = dataclasses.replace(found, recipe_digest="e" * 16)
    later = {**found.to_json(), "more": 1}
    study = optuna.create_study(study_name="s")
    study.set_user_attr(CONFIRMATIONS, [{}, other.to_json(), later])
    assert confirmations_of(study) == [other]
    damaged, unknown = (record.getMessage() for record in caplog.records[-2:])
    assert damaged.startswith("study s: a stored confirmation cannot be read: ")
    assert damaged.endswith("; nas-sv2 study confirm removes it, and makes a new one")
    assert unknown.startswith("study s: a stored confirmation is of another version of nas-sv2")
    keep(study, found)
    assert confirmations_of(study) == [other, found]
    assert later in study.user_attrs[CONFIRMATIONS]
    assert len(study.user_attrs[CONFIRMATIONS]) == 3


def as_before_scores_had_names(data: dict[str, Any]) -> None:
    """Name everything accuracy, as when top-1 was all that was compared by."""
    del data["scored_by"]
    for network in data["networks"]:
        network["accuracies"] = network.pop("scores")
        network["float_accuracy"] = network.pop("float_score")
    for finding in data["findings"]:
        finding["accuracy"] = finding.pop("score")


def test_one_of_before_all_was_judged_together_is_read_and_says_so() -> None:
    finding = Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")})
    data = confirmation_of(finding).to_json()
    for name in ("longest", "together"):
        del data[name]
    as_before_scores_had_names(data)
    del data["findings"][0]["accuracy"]["level"]
    for name in ("chance", "level"):
        del data["findings"][0]["latency"]["cpu"][name]
    old = Confirmation.from_json(json.loads(json.dumps(data)))
    text = old.describe(old.findings[0])
    assert "(95 % alone 0.880 to 0.920)" in text
    assert "points, 95 % alone +0.50 to +1.50" in text
    assert "accuracies and times apart" in old.method
    assert "2 comparisons judged together" in (confirmation_of(finding).method)


def test_uneven_test_images_are_said_and_older_confirmations_do_not_know_them() -> None:
    plain = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    data = json.loads(json.dumps(plain.to_json()))
    for part, name in ((data, "majority"), (data, "classes"), (data["networks"][0], None)):
        del part[name or "balanced_accuracy"]
    assert Confirmation.from_json(data) == plain
    assert not plain.uneven and plain.describe_majority() == ""
    networks = [
        dataclasses.replace(one, balanced_accuracy=share)
        for one, share in zip(plain.networks, (0.51, 0.62), strict=True)
    ]
    found = dataclasses.replace(plain, majority=0.95, classes=2, networks=tuple(networks))
    assert "95.00% of the 10,000 test images are of one class" in found.describe_majority()
    assert found.describe_majority() in confirmation_notes(found)
    file = io.StringIO()
    Console(file=file, width=200).print(confirmation_table(found))
    assert "51.00%" in file.getvalue() and "62.00%" in file.getvalue()


def test_networks_that_one_fixed_answer_equals_are_named() -> None:
    plain = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    first, second = plain.networks
    assert plain.majority is None and plain.describe_unlearnt() == ""
    shares = [
        dataclasses.replace(first, accuracies=(0.10, 0.12)),
        dataclasses.replace(second, accuracies=(0.10, 0.16)),
    ]
    found = dataclasses.replace(plain, majority=0.12, classes=10, networks=tuple(shares))
    line = found.describe_unlearnt()
    assert line.endswith(f"(12.00% of the 10,000 test images): {first.name}")
    assert line in confirmation_notes(found)
    assert dataclasses.replace(found, majority=0.1).describe_unlearnt() == ""


def test_finalists_whose_search_had_unlike_lengths_give_a_range() -> None:
    finding = Finding(3, "aa", accuracy("tie"), {})
    assert "(4 × the search" in confirmation_of(finding).method
    assert "(4 to 9.5 × the search" in confirmation_of(finding, longest=9.5).method


def test_the_newest_finding_of_a_network_is_stated() -> None:
    first = confirmation_of(Finding(3, "aa", accuracy("better"), {"cpu": latency("tie")}))
    later = confirmation_of(
        Finding(3, "aa", accuracy("tie"), {"cpu": latency("tie")}), recipe="longer"
    )
    assert newest_findings([first, later])["aa", None][0] is later
    claim, method = confirmation_lines([first, later])
    assert claim.startswith("confirmed 2026-01-02: trial 3 not shown to beat")
    assert "recipe longer (4 × the search's image passes), seeds 1, 2, 3" in method
    assert confirmation_lines([first], "aa") == confirmation_lines([first])
    assert confirmation_lines([first], "bb") == confirmation_lines([]) == []


ROUNDS, SEEDS = 30, 3
FASTER = TimedPair((0.5,) * ROUNDS, 0.5, False, False)
EQUAL = TimedPair((0.9, 1.1) * (ROUNDS // 2), 1.0, False, False)


def finalist(
    accuracies: Sequence[float],
    baseline: Sequence[float],
    images: int = IMAGES,
    times: Mapping[str, ComparedPair] | None = None,
) -> Finalist:
    return Finalist(3, "aa", Paired.of(accuracies, baseline, 1 / images), times or {})


def gain(
    accuracies: Sequence[float], baseline: Sequence[float], images: int = IMAGES
) -> ScoreGain:
    """Judged with nothing else."""
    (finding,) = judge_finalists([finalist(accuracies, baseline, images)])
    return finding.score


def test_the_interval_is_student_s_of_the_paired_differences() -> None:
    # Differences 1, 2 and 3 points: mean 2, deviation 1, t(0.975, 2) = 4.3027.
    found = gain((0.91, 0.93, 0.95), (0.90, 0.91, 0.92))
    assert found.mean == pytest.approx(0.02)
    reach = 4.30265 * 0.01 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.02 - reach, 0.02 + reach), rel=1e-4)
    # t = 2 √3 = 3.4641: with 2 degrees of freedom, p = 1 - t / √(t² + 2).
    assert found.chance == pytest.approx(1 - 3.4641 / math.sqrt(14), rel=1e-3)
    assert (found.verdict, found.level) == ("tie", 0.05)


def test_what_a_seed_does_to_both_networks_cancels() -> None:
    baseline = (0.70, 0.80, 0.90)
    assert gain((0.711, 0.810, 0.909), baseline).verdict == "better"
    assert gain((0.689, 0.790, 0.891), baseline).verdict == "worse"


def test_three_equal_differences_of_one_image_are_no_proof() -> None:
    """Accuracies are counts: a deviation of zero is not the absence of noise."""
    found = gain((0.51, 0.51, 0.51), (0.50, 0.50, 0.50), 100)
    assert (found.verdict, found.low < 0) == ("tie", True)
    found = gain((0.9, 0.9, 0.9), (0.9, 0.9, 0.9), 100)
    assert (found.mean, found.chance) == (0, 1)


def scattered(ratio: float) -> tuple[list[float], list[float]]:
    """A finalist and a baseline whose differences give this t, by 3 seeds."""
    differences = [0.01 * (ratio / math.sqrt(3) + shift) for shift in (-1, 0, 1)]
    return [0.5 + each for each in differences], [0.5] * 3


def test_accuracies_and_times_of_all_finalists_are_judged_together() -> None:
    """A chance of 0.03 alone would be called more than chance; beside a tie in time it is not."""
    ours, baseline = scattered(4.30265 * 1.28)
    alone = gain(ours, baseline)
    assert 0.025 < alone.chance < 0.05
    assert alone.verdict == "better"
    (beside,) = judge_finalists([finalist(ours, baseline, times={"cpu": EQUAL})])
    assert (beside.score.verdict, beside.claim) == ("tie", "no claim")
    assert beside.score.level == 0.025
    two = judge_finalists([finalist(ours, baseline), finalist(ours, baseline)])
    assert [finding.score.verdict for finding in two] == ["tie", "tie"]
    # What is settled takes no room from what is left.
    (clear,) = judge_finalists([finalist(ours, baseline, times={"cpu": FASTER})])
    assert (clear.claim, clear.score.level, clear.latency["cpu"].level) == ("both", 0.05, 0.025)


def test_what_was_priced_is_no_test_and_takes_no_room() -> None:
    ours, baseline = scattered(4.30265 * 1.28)
    priced: dict[str, ComparedPair] = {
        "arm": PricedPair(0.79, "emulated"),
        "other": PricedPair(0.95, "emulated"),
    }
    (finding,) = judge_finalists([finalist(ours, baseline, times=priced)])
    assert finding.score.level == 0.05
    assert {name: one.verdict for name, one in finding.latency.items()} == {
        "arm": "better",
        "other": "tie",
    }
    assert all((one.chance, one.level) == (None, None) for one in finding.latency.values())


def test_a_difference_that_sessions_make_is_a_tie_though_every_round_shows_it() -> None:
    ours, baseline = scattered(0.1)
    small = TimedPair((0.97,) * ROUNDS, 0.97, True, True)
    (finding,) = judge_finalists([finalist(ours, baseline, times={"cpu": small})])
    assert finding.latency["cpu"].verdict == "tie"
    assert "a tie within 5%, because other programs ran" in finding.latency["cpu"].rule


def test_what_one_image_counts_depends_on_the_score() -> None:
    assert step_of("accuracy", 1000, (900, 100), (0.9,)) == 1 / 1000
    # One image of the rare class counts 1 / (2 · 100), of the other 1 / (2 · 900).
    for by in ("balanced_accuracy", "macro_f1", "mean_ap"):
        expected = math.hypot(1 / 200, 1 / 1800)
        assert step_of(by, 1000, (900, 100, 0), (0.9,)) == pytest.approx(expected)
    assert step_of("mae", 100, (), (-4.0, -6.0)) == pytest.approx(0.05)
    assert step_of("lab:cost", 100, (50, 50), (0.4, 0.6)) == pytest.approx(0.005)


def test_three_equal_differences_by_one_image_of_a_rare_class_are_no_proof() -> None:
    """A class of 10 images: one of them is 5 points of balanced accuracy, and 0.1 of top-1."""
    step = step_of("balanced_accuracy", 1000, (990, 10), ())
    equal = Finalist(3, "aa", Paired.of((0.75,) * 3, (0.70,) * 3, step), {})
    assert judge_finalists([equal])[0].score.verdict == "tie"
    assert gain((0.75,) * 3, (0.70,) * 3, 1000).verdict == "better"


def test_scores_of_zero_alone_show_nothing() -> None:
    step = step_of("lab:cost", 100, (), (0.0,) * 6)
    one = Finalist(3, "aa", Paired.of((0.0,) * 3, (0.0,) * 3, step), {"cpu": FASTER})
    (finding,) = judge_finalists([one], 0.1)
    assert finding.not_worse is not None and not finding.not_worse.holds
    assert (finding.score.verdict, finding.claim) == ("tie", "faster")


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("accuracy", "faster and more accurate ("),
        ("macro_f1", "faster and better by macro F1 ("),
        ("lab:cost", "faster and better by lab:cost ("),
        ("mae", "faster and better by MAE ("),
    ],
)
def test_a_claim_names_the_score_in_its_unit(by: str, words: str) -> None:
    finding = Finding(3, "aa", accuracy("better"), {"cpu": latency("better")})
    found = confirmation_of(finding, scored_by=by)
    text = found.describe(finding)
    assert words in text
    share = "+1.00 points, 95 % +0.50 to +1.50"
    shown = {"mae": "-0.01, 95 % -0.015 to -0.005", "lab:cost": "+0.0100, 95 % +0.0050 to +0.0150"}
    assert f"{found.facts.noun} after long {shown.get(by, share)}: " in text
    file = io.StringIO()
    Console(file=file, width=200).print(confirmation_table(found))
    assert f"test {found.facts.name}" in file.getvalue()
    assert Confirmation.from_json(json.loads(json.dumps(found.to_json()))) == found


counts = st.lists(st.integers(0, 1000), min_size=3, max_size=3)
ratios = st.lists(st.floats(0.5, 2), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(counts, counts, ratios), min_size=1, max_size=3))
def test_an_interval_leaves_no_difference_out_where_its_verdict_is_more_than_chance(
    found: list[tuple[list[int], list[int], list[float]]],
) -> None:
    """The interval that is printed is the one that decides."""
    finalists = [
        finalist(
            [each / 1000 for each in ours],
            [each / 1000 for each in theirs],
            1000,
            {"cpu": TimedPair(tuple(rounds), statistics.median(rounds), False, False)},
        )
        for ours, theirs, rounds in found
    ]
    for one, finding in zip(finalists, judge_finalists(finalists), strict=True):
        accuracy, time = finding.score, finding.latency["cpu"]
        assert (accuracy.low > 0) == (accuracy.verdict == "better")
        assert (accuracy.high < 0) == (accuracy.verdict == "worse")
        pair = one.times["cpu"]
        assert isinstance(pair, TimedPair) and time.level is not None
        outside = time.ratio_ci is not None and not time.ratio_ci[0] <= 1 <= time.ratio_ci[1]
        assert outside == (pair.chance <= time.level)
        assert (outside and pair.counts) == (time.verdict != "tie")


BASELINE = (0.900, 0.910, 0.920)
LOWER = (0.898, 0.909, 0.920)  # by 0.2, 0.1 and 0 points


def test_not_worse_by_a_margin_is_a_one_sided_test_of_its_own() -> None:
    """Mean -0.1 points, deviation 0.1, error 0.1 / √3; t(0.95, 2) = 2.91999."""
    one = finalist(LOWER, BASELINE, times={"cpu": FASTER})
    (finding,) = judge_finalists([one], 0.005)
    found = finding.not_worse
    assert found is not None and found.holds and found.level == 0.05
    assert found.low == pytest.approx(-0.001 - 2.91999 * 0.001 / math.sqrt(3), rel=1e-4)
    # t = 0.4 √3 / 0.1 = 6.9282: with 2 degrees of freedom, p = (1 - t / √(t² + 2)) / 2.
    assert found.chance == pytest.approx((1 - 6.9282 / math.sqrt(50)) / 2, rel=1e-3)
    assert (finding.score.verdict, finding.claim) == ("tie", "faster at equal score")
    # It ends at -0.2686 points, which a margin of 0.25 does not reach.
    (strict,) = judge_finalists([one], 0.0025)
    assert strict.not_worse is not None and not strict.not_worse.holds
    assert strict.claim == "faster"
    assert judge_finalists([one])[0].not_worse is None
    # Two finalists are judged together: 0.0101 is below 0.025, 0.03 is not.
    both = judge_finalists([one, finalist((0.89, 0.91, 0.93), BASELINE)], 0.005)
    assert [each.not_worse is not None and each.not_worse.holds for each in both] == [True, False]


def test_less_accurate_within_the_margin_is_equal_only_if_it_is_faster() -> None:
    """Each seed loses 0.2 points: settled as less accurate, and not worse by half a point."""
    lower = [each - 0.002 for each in BASELINE]
    for times, claim in ((FASTER, "faster at equal score"), (EQUAL, "no claim")):
        (finding,) = judge_finalists([finalist(lower, BASELINE, times={"cpu": times})], 0.005)
        assert (finding.score.verdict, finding.claim) == ("worse", claim)
    found = confirmation_of(finding, margin=0.005)
    text = found.describe(finding)
    assert "; not worse by 0.5 points, one-sided 95 % from -0.21" in text
    assert found.question != confirmation_of(finding).question
    (finding,) = judge_finalists([finalist(lower, BASELINE, times={"cpu": FASTER})], 0.005)
    assert "trial 3 faster than shufflenet_v2_x1_0 at equal accuracy (" in found.describe(finding)


def test_of_finalists_that_lose_the_margin_one_in_twenty_is_called_equal() -> None:
    generator = np.random.default_rng(1)
    called = 0
    for _ in range(SESSIONS):
        baseline = generator.normal(0.8, 0.01, SEEDS)
        ours = generator.normal(0.79, 0.01, SEEDS)
        (finding,) = judge_finalists([finalist(ours.tolist(), baseline.tolist())], 0.01)
        called += finding.not_worse is not None and finding.not_worse.holds
    assert called / SESSIONS == pytest.approx(WRONG, abs=0.015)


SESSIONS = 2000


def of_equals(finalists: int, targets: int) -> Iterator[tuple[Finding, ...]]:
    """What is found of finalists that are exactly as good and as fast as the baseline."""
    generator = np.random.default_rng(0)
    for _ in range(SESSIONS):
        baseline = generator.normal(0.8, 0.01, SEEDS)
        found = []
        for _ in range(finalists):
            times: dict[str, ComparedPair] = {}
            for target in range(targets):
                rounds = np.exp(generator.normal(0, 0.5, ROUNDS))  # so that `least` plays no part
                median = float(np.median(rounds))
                times[f"t{target}"] = TimedPair(tuple(rounds.tolist()), median, False, False)
            ours = generator.normal(0.8, 0.01, SEEDS).tolist()
            found.append(finalist(ours, baseline.tolist(), times=times))
        yield judge_finalists(found)


@pytest.mark.parametrize(("finalists", "targets"), [(1, 1), (3, 1), (2, 2)])
def test_of_equals_one_confirmation_in_twenty_says_something_wrong(
    finalists: int, targets: int
) -> None:
    wrong = claimed = apart = 0
    for findings in of_equals(finalists, targets):
        verdicts = [
            verdict
            for one in findings
            for verdict in (one.score.verdict, *(each.verdict for each in one.latency.values()))
        ]
        wrong += set(verdicts) != {"tie"}
        claimed += any(one.claim != "no claim" for one in findings)
        accuracies = [one.score.chance for one in findings]
        times = [each.chance or 0.0 for one in findings for each in one.latency.values()]
        apart += any(
            judged.more_than_chance
            for family in (accuracies, times)
            for judged in judge_together(family, WRONG)
        )
    noise = 3 * math.sqrt(WRONG * (1 - WRONG) / SESSIONS)  # 1.5 %
    assert claimed <= wrong <= (WRONG + noise) * SESSIONS
    assert wrong > 0.02 * SESSIONS  # or the test could not fail
    assert apart > (WRONG + noise) * SESSIONS  # as it was: each family at 5 %
