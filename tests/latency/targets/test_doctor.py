"""Devices that are clean, noisy, hot, drifting or shared, and what the doctor says of each."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import FACTS, PLAN, ROUNDS, ScriptedDevice, measurement_of, samples_of

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.doctor import (
    MOST_PAUSE_S,
    QUICK_SESSIONS,
    RATIO_CV,
    REFERENCE_CV,
    check_request,
    examine,
    grade_of,
    trust_warning,
)
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.units.reference import reference

NETWORK = "shufflenet_v2_x0_5"
REST = {"at_s": 0.0, "runnable": 1, "khz": 2e6, "ticks": 0, "stolen_ticks": 0}


def level(times: float = 1.0, ratio: float = 1.5, **other: Any) -> Measurement:
    """A session in which every round is alike."""
    return measurement_of(
        samples_of([2 * times * ratio] * ROUNDS), samples_of([2 * times] * ROUNDS), **other
    )


def sessions(*scales: float) -> list[Measurement]:
    return [level(times=scale) for scale in scales]


def later(**readings: float) -> tuple[dict[str, float], ...]:
    return (REST, {**REST, "ticks": 500}, {**REST, "ticks": 1000, **readings})


def falling(share: float) -> Measurement:
    """The device slows down within the session, both networks alike."""
    slow = [1 + share * number / (ROUNDS * 2 / 3) for number in range(ROUNDS)]
    return measurement_of(
        samples_of([3 * factor for factor in slow]), samples_of([2 * factor for factor in slow])
    )


def with_facts(**facts: object) -> list[Measurement]:
    return [level(facts={**FACTS, **facts})] * 5


def with_plan(disturbed: float = 0.0, **plan: Any) -> list[Measurement]:
    changed = dataclasses.replace(PLAN, **plan)
    facts = {**FACTS, "threads": changed.threads}
    runs = samples_of([3.0] * ROUNDS, disturbed), samples_of([2.0] * ROUNDS, disturbed)
    return [measurement_of(*runs, plan=changed, facts=facts)] * 5


def quota_used_up(periods: int, disturbed: float = 0.0) -> Measurement:
    """In so many of 105 periods of a quota of half a core."""
    began = {**REST, "quota_periods": 1000, "quota_throttled": 500}
    ended = {**REST, "quota_periods": 1105, "quota_throttled": 500 + periods}
    return measurement_of(
        samples_of([3.0] * ROUNDS, disturbed, tail=1.3 if periods else 1.0),
        samples_of([2.0] * ROUNDS, disturbed),
        facts={**FACTS, "cpu_quota": 0.5},
        conditions=(began, ended),
    )


HOT = level(conditions=later(khz=1e6))

CASES: dict[str, tuple[list[Measurement], str, str, str]] = {
    "clean": (sessions(1, 1.01, 0.99, 1, 1), "good", "", ""),
    "slow spells that the ratio cancels": (
        sessions(1, 1.1, 1, 1.1, 1),
        "fair",
        "ms varied by 5.3%",
        "compare ratios",
    ),
    "spells too large to cancel": (sessions(1, 1.5, 1, 1.5, 1), "poor", "ms varied by 22.8%", ""),
    "ratios that scatter": (
        [level(ratio=ratio) for ratio in (1.5, 1.53, 1.5, 1.47, 1.5)],
        "fair",
        "the ratio of two networks varied by 1.4%",
        "only networks of one command",
    ),
    "ratios that are a guess": (
        [level(ratio=ratio) for ratio in (1.5, 1.6, 1.5, 1.4, 1.5)],
        "poor",
        "the ratio of two networks varied by 4.7%",
        "",
    ),
    "contended, one thread": (
        with_plan(0.5),
        "fair",
        "other programs wanted the processor in 100%",
        "close them",
    ),
    "contended, two threads": (
        with_plan(0.5, threads=2),
        "poor",
        "other programs wanted the processor in 100%",
        "threads=1",
    ),
    "contended once": ([*sessions(1, 1, 1, 1), with_plan(0.5)[0]], "good", "", ""),
    "drifting": ([falling(0.08)] * 5, "fair", "drifted by +8%", "heat_s=300"),
    "running away": ([falling(0.3)] * 5, "poor", "drifted by +28%", "let it cool"),
    "hot once": ([HOT, *sessions(1, 1, 1, 1)], "fair", "in 1 of 5 sessions", "a fan"),
    "hot": ([HOT] * 5, "poor", "the clock fell from 2000 to 1000 MHz (in 5 of 5", "a fan"),
    "counted throttling": (
        [level(conditions=({**REST, "throttle_count": 1}, REST, {**REST, "throttle_count": 9}))]
        * 5,
        "poor",
        "the device throttled",
        "turbo off",
    ),
    "shared host": (
        [level(conditions=later(stolen_ticks=50))] * 5,
        "fair",
        "a hypervisor took 5%",
        "processors of its own",
    ),
    "crowded host": (
        [level(conditions=later(stolen_ticks=200))] * 5,
        "poor",
        "a hypervisor took 20%",
        "",
    ),
    "noisy": (
        [measurement_of(samples_of([3.0] * ROUNDS, tail=1.3))] * 5,
        "fair",
        "p95 is 1.30 times the median",
        "affinity=[3]",
    ),
    "very noisy": (
        [measurement_of(samples_of([3.0] * ROUNDS, tail=2.0))] * 5,
        "poor",
        "p95 is 2.00 times",
        "",
    ),
    "never warm": (
        [level(stationary=False), *sessions(1, 1, 1, 1)],
        "fair",
        "never warmed up in 1 of 5",
        "come to rest",
    ),
    "powersave": (
        with_facts(governor="schedutil"),
        "fair",
        "governor 'schedutil'",
        "sudo cpupower frequency-set -g performance",
    ),
    "performance": (with_facts(governor="performance"), "good", "", ""),
    "two kinds of core": (
        with_facts(cpu="board 0x41/0xd03 + 0x41/0xd08"),
        "fair",
        "between kinds of core",
        "affinity=[4]",
    ),
    "two kinds of core, pinned": (
        [
            level(
                facts={**FACTS, "cpu": "board 0x41/0xd03 + 0x41/0xd08"},
                plan=dataclasses.replace(PLAN, affinity=(0, 1)),
            )
        ]
        * 5,
        "good",
        "",
        "",
    ),
    "half a core": (
        [quota_used_up(98, disturbed=1.0)] * 5,
        "poor",
        "the CPU quota (0.5 cores) stopped it in 93% of the quota's periods",
        "docker --cpus",
    ),
    "a quota that nearly suffices": (
        [quota_used_up(4)] * 5,
        "fair",
        "stopped it in 4% of the quota's periods",
        "limits.cpu of Kubernetes",
    ),
    "a quota that suffices": ([quota_used_up(0)] * 5, "good", "", ""),
    "a weak supply": (
        [level(conditions=({**REST, "under_voltage": 0}, {**REST, "under_voltage": 1}))] * 5,
        "poor",
        "the supply of the Raspberry Pi is too weak",
        "",
    ),
}


@pytest.mark.parametrize(("measured", "grade", "what", "fix"), CASES.values(), ids=CASES)
def test_every_device_gets_its_grade_and_what_to_fix(
    measured: list[Measurement], grade: str, what: str, fix: str
) -> None:
    found = grade_of(measured, NETWORK)
    assert found.grade == grade
    about = [finding for finding in found.findings if what in finding.what]
    assert bool(about) == bool(what)
    if what:
        assert fix in about[0].fix
        assert found.findings[0].level == grade
    else:
        assert found.findings == ()
    assert all(finding.what and finding.fix for finding in found.findings)


def test_the_figures_of_a_grade() -> None:
    grade = grade_of(sessions(1, 1.1, 0.9, 1.2, 1), NETWORK)
    assert (grade.sessions, grade.network, grade.reference) == (5, NETWORK, "shufflenet_v2_x1_0")
    assert grade.reference_ms == pytest.approx(2.0)  # the median is the pace
    assert grade.ratio == pytest.approx(1.5)
    assert grade.reference_cv == pytest.approx(0.1096, abs=0.001)
    assert grade.ratio_cv == pytest.approx(0)
    assert (grade.contended, grade.noise, grade.stolen) == (0.0, 1.0, None)


@given(
    st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.9, 1.1)), min_size=3, max_size=8),
    st.sampled_from(["schedutil", "performance", None]),
)
def test_a_grade_is_the_worst_of_its_findings_whatever_was_measured(
    measured: list[tuple[float, float]], governor: str | None
) -> None:
    facts = {**FACTS, **({} if governor is None else {"governor": governor})}
    found = grade_of([level(t, 1.5 * r, facts=facts) for t, r in measured], NETWORK)
    order = ["poor", "fair", "good"]
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=order.index)
    assert found.grade == (levels[0] if levels else "good")
    if found.grade == "good":
        assert found.ratio_cv <= RATIO_CV[0]
        assert found.reference_cv <= REFERENCE_CV[0]
    if found.ratio_cv > RATIO_CV[1] or found.reference_cv > REFERENCE_CV[1]:
        assert found.grade == "poor"
    assert Grade.from_json(found.to_json()) == dataclasses.replace(found)


def test_a_device_that_became_another_is_not_graded() -> None:
    changed = [level(), level(), level(facts={**FACTS, "governor": "performance"})]
    with pytest.raises(DeviceError, match="governor was None and is 'performance'"):
        grade_of(changed, NETWORK)


def test_sessions_without_common_rounds_are_not_graded() -> None:
    alone = dataclasses.replace(level(), beside=None)
    with pytest.raises(MeasurementError, match="no round in common"):
        grade_of([level(), alone, level()], NETWORK)


def measured_device(
    script: Callable[[int], Measurement], store: MeasurementStore | None = None, **plan: Any
) -> tuple[MeasuredDevice, ScriptedDevice]:
    device = ScriptedDevice(script)
    return MeasuredDevice("cpu", device, dataclasses.replace(PLAN, **plan), store), device


def test_every_session_has_an_agent_of_its_own_and_the_grade_is_kept(tmp_path: Path) -> None:
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path / 'a.db'}"))
    measured, device = measured_device(lambda number: level(times=1 + number / 10), store)
    seen: list[tuple[int, int]] = []
    grade = examine(measured, 4, 0.0, lambda done, total: seen.append((done, total)))
    assert device.calls == ["measure", "close"] * 4
    assert seen == [(number, 4) for number in range(4)]
    assert grade.reference_ms == pytest.approx(2.3)
    assert grade.network == NETWORK
    assert store.grade(level().fingerprint, PLAN) == grade
    digest = reference(NETWORK).digest
    assert store.find(digest, level().fingerprint, PLAN) is not None
    store.db.close()


def test_the_network_is_never_the_reference_itself() -> None:
    measured, _ = measured_device(lambda number: level(), reference=NETWORK)
    assert examine(measured, 3, 0.0).network == "shufflenet_v2_x1_0"


def test_a_plan_without_a_reference_cannot_be_graded() -> None:
    measured, device = measured_device(lambda number: level())
    bare = dataclasses.replace(measured, plan=dataclasses.replace(PLAN, reference=None))
    with pytest.raises(ConfigError, match=r"plan\.reference must be a reference network"):
        examine(bare)
    assert device.calls == []


@pytest.mark.parametrize(
    ("count", "pause_s", "named"),
    [
        (QUICK_SESSIONS - 1, 1.0, "sessions .*; got 2"),
        (101, 1.0, "sessions .*; got 101"),
        (5, -1.0, r"pause .*; got -1\.0"),
        (5, float("nan"), "pause .*; got nan"),
        (5, MOST_PAUSE_S + 1, "pause .*; got 3601"),
    ],
)
def test_requests_that_cannot_be_meant(count: int, pause_s: float, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_request(count, pause_s)


def test_a_search_is_warned_of_a_poor_device_and_told_of_one_without_a_grade(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    store = MeasurementStore(Database.open(url))
    measured, _ = measured_device(lambda number: level(), store)
    assert trust_warning(MeasuredTarget(dataclasses.replace(measured, store=None))) is None
    assert trust_warning(MeasuredTarget(measured)) == (
        f"run nas-sv2 device grade --target cpu --storage {url} to know how far cpu can be trusted"
    )
    restless, _ = measured_device(lambda number: level(times=1 + number), store)
    assert examine(restless, 3, 0.0).grade == "poor"
    warning = trust_warning(MeasuredTarget(measured))
    assert warning is not None
    assert "cpu was graded poor (the reference network's ms varied by 50" in warning
    assert "\n" not in warning
    examine(measured, 3, 0.0)
    assert trust_warning(MeasuredTarget(measured)) is None  # the newest counts
    batch = dataclasses.replace(measured, plan=dataclasses.replace(PLAN, batch=2))
    assert "to know" in str(trust_warning(MeasuredTarget(batch)))
    store.db.close()


def test_a_quota_is_not_blamed_on_other_programs() -> None:
    grade = grade_of([quota_used_up(98, disturbed=1.0)] * 5, NETWORK)
    assert grade.contended == 0
    advice = [finding.fix for finding in grade.findings]
    assert advice
    assert not any("close" in fix for fix in advice), advice
