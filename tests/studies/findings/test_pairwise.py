import dataclasses

import pytest
from doubles import latency_of, record_of
from hypothesis import given
from hypothesis import strategies as st
from scripted_study import certificate

from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.pairwise import (
    accuracy_interval,
    compare_latencies,
    compare_scores,
    find_ties,
)


def timed(low: float, high: float) -> Latency:
    return dataclasses.replace(latency_of((low + high) / 2), ci_ms=(low, high))


@pytest.mark.parametrize(
    ("ours", "theirs", "sure"),
    [((1.0, 1.1), (2.0, 2.2), "sure"), ((1.0, 1.1), (1.05, 1.2), "tie")],
)
def test_a_latency_is_surely_another_where_the_intervals_are_apart(
    ours: tuple[float, float], theirs: tuple[float, float], sure: str
) -> None:
    found = compare_latencies(timed(*ours), timed(*theirs))
    assert found.sure == sure and found.gain > 0
    back = compare_latencies(timed(*theirs), timed(*ours))
    assert back.sure == sure and back.gain < 0


def test_what_was_contended_is_not_sure() -> None:
    ours, theirs = dataclasses.replace(timed(1.0, 1.1), contended=True), timed(2.0, 2.2)
    assert (compare_latencies(ours, theirs).sure, compare_latencies(ours, theirs).mark) == (
        "unknown",
        "contended",
    )


def test_a_latency_without_an_interval_is_not_known_to_be_another() -> None:
    emulated = dataclasses.replace(latency_of(2.0), ci_ms=None, provenance="emulated")
    found = compare_latencies(emulated, dataclasses.replace(emulated, ms=4.0, p95_ms=4.0))
    assert (found.gain, found.sure, found.mark) == (0.5, "unknown", "emulated")


def test_an_accuracy_is_surely_better_by_the_certificate_alone() -> None:
    known = certificate(noise=0.01)
    least = known.smallest_difference
    assert least is not None
    ours, near, far = (record_of(score) for score in (0.8, 0.8 - least / 2, 0.8 - least * 2))
    assert compare_scores(ours, far, None).sure == "unknown"
    assert compare_scores(ours, near, known).sure == "tie"
    assert compare_scores(ours, far, known).sure == "sure"
    assert compare_scores(ours, far, known, among=10**12).sure == "tie"
    assert "for the best of 2" in compare_scores(ours, far, known, among=2).why
    assert compare_scores(ours, ours, certificate(noise=0.0)).sure == "tie"


def test_neighbours_on_the_front_are_ties_by_the_certificate() -> None:
    records = {0: record_of(0.5, 1.0), 1: record_of(0.51, 2.0), 2: record_of(0.9, 3.0)}
    assert find_ties(Front(records), certificate(noise=0.01)) == [(0, 1)]
    assert find_ties(Front(records), None) == []


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_few_images_leave_a_wide_interval_around_the_accuracy(share: float, images: int) -> None:
    low, high = accuracy_interval(share, images)
    assert 0 <= low <= share + 1e-9 and share - 1e-9 <= high <= 1
    wider_low, wider_high = accuracy_interval(share, max(1, images // 4))
    assert wider_high - wider_low >= high - low - 1e-12
