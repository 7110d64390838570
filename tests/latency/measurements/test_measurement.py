"""Readings of a device, and what they say against a measurement."""

import dataclasses
import json
import math
import statistics
from typing import Any

import pytest

from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.agent.host_facts import conditions, machine_facts
from nas_sv2.latency.devices.local import CPU_PLAN
from nas_sv2.latency.measurements.conditions import device_complaints
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import (
    Beside,
    Latency,
    Measurement,
)
from nas_sv2.latency.measurements.spread import Repeatability, Spread

AT_REST = {"khz": 1.2e6, "celsius": 40.0, "ticks": 1000, "stolen_ticks": 5, "load": 0.1}


@pytest.mark.parametrize(
    ("later", "complaint"),
    [
        ({}, ""),
        ({"khz": 1.15e6}, ""),
        ({"khz": 0.6e6}, "the clock fell from 1200 to 600 MHz"),
        ({"throttle_count": 8}, "the device throttled at 70 °C"),
        ({"throttled": "throttled=0x50005"}, ""),  # not a number: nothing is known
        ({"throttled": "50005"}, "the device throttled at 70 °C"),
        ({"throttled": "50000"}, ""),  # it did once, but not now
        ({"gpu_throttled": "0x0000000000000001"}, ""),  # idle
        ({"gpu_throttled": "0x0000000000000008"}, "the device throttled"),
        ({"under_voltage": 1}, "the supply of the Raspberry Pi is too weak"),
        ({"under_voltage": 0}, ""),
        (
            {"quota_periods": 305, "quota_throttled": 98},
            "stopped it in 48% of the quota's periods",
        ),
        ({"quota_periods": 305, "quota_throttled": 0}, ""),
        ({"stolen_ticks": 65}, "3% of the time went to other machines"),
        ({"stolen_ticks": 15}, ""),
    ],
)
def test_what_readings_mean(later: dict[str, object], complaint: str) -> None:
    first = {**AT_REST, "throttle_count": 7, "quota_periods": 100, "quota_throttled": 0}
    last = {**first, "ticks": 3000, "celsius": 70.0, **later}
    found = device_complaints([first, first, last])
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)


def test_a_clock_at_rest_before_the_first_run_is_no_throttling() -> None:
    slow = {**AT_REST, "khz": 0.3e6}
    assert device_complaints([slow, AT_REST, AT_REST]) == []


def test_nothing_known_is_nothing_said() -> None:
    assert device_complaints([]) == []
    assert device_complaints([{}, {}, {}]) == []


def test_this_machine_is_read() -> None:
    facts, state = machine_facts(), conditions(0.0, gpu=True)
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert state["at_s"] > 0
    assert None not in [*facts.values(), *state.values()]


FINGERPRINT = Fingerprint(
    {"cpu": "A board 0x41/0xd08", "runtime": "onnxruntime", "runtime_version": "1.20"}
)
SAMPLES = Samples(
    wall=tuple(5 + 0.001 * (index % 7) for index in range(100)),
    cpu=(5.0,) * 100,
    switches=(0,) * 100,
    rounds=tuple(index // 5 for index in range(100)),
)
STEADY = Measurement(
    architecture="0123456789abcdef",
    plan=CPU_PLAN,
    fingerprint=FINGERPRINT,
    samples=SAMPLES,
    warmup_runs=20,
    stationary=True,
    session="a",
    measured_at="2026-01-01T00:00:00+00:00",
    conditions=({"at_s": 0.0, "runnable": 1},) * 3,
    series={"event_ms": (1.0, 2.0)},
)


def with_samples(measurement: Measurement = STEADY, **columns: Any) -> Measurement:
    samples = measurement.samples._replace(**columns)
    return dataclasses.replace(measurement, samples=samples)


INTERRUPTED = with_samples(wall=tuple(5.0 + 6 * (i % 2) for i in range(100)), switches=(0, 1) * 50)
TWICE = tuple(time / 2 for time in SAMPLES.wall)
BESIDE = dataclasses.replace(
    STEADY, beside=Beside("shufflenet_v2_x0_5", SAMPLES._replace(wall=TWICE))
)


@pytest.mark.parametrize(
    "measurement",
    [
        STEADY,
        with_samples(switches=None),
        BESIDE,
        dataclasses.replace(STEADY, heating=((1.0, 5.0), (2.0, 5.5))),
        dataclasses.replace(STEADY, fallen_back=(3, 12)),
    ],
)
def test_json_round_trip(measurement: Measurement) -> None:
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


def test_nodes_that_fell_back_to_the_cpu_are_said() -> None:
    note = dataclasses.replace(STEADY, fallen_back=(3, 12)).latency("dev").note
    assert "3 of 12 nodes fell back to the CPU" in note
    assert "fell back" not in dataclasses.replace(STEADY, fallen_back=(0, 12)).latency("d").note


def test_a_quiet_measurement_has_nothing_to_complain_of() -> None:
    assert STEADY.median_ms == pytest.approx(5.003)
    assert STEADY.p95_ms == pytest.approx(5.006)
    assert STEADY.estimator == "undisturbed wall time"
    assert not STEADY.contended
    assert STEADY.judgement == ""


def test_a_contended_one_uses_cpu_time_and_says_so() -> None:
    assert INTERRUPTED.median_ms == 5.0
    assert INTERRUPTED.contended
    assert "50% of runs were interrupted, thread CPU time is used" in INTERRUPTED.judgement


def test_an_advice_is_given_once() -> None:
    times = tuple(5.0 + (i % 10 == 0) * 5 for i in range(100))
    noisy = with_samples(wall=times, cpu=times, switches=(0, 1) * 50)
    assert "unstable: p95/median" in noisy.judgement
    assert noisy.judgement.count("close other programs") == 1


def test_a_cpu_quota_is_named_and_other_programs_are_not() -> None:
    """Whether the quota's periods were counted decides: a run cannot tell who interrupted it."""
    states = (
        {"quota_periods": 0, "quota_throttled": 0},
        {"quota_periods": 105, "quota_throttled": 98},
    )
    limited = dataclasses.replace(INTERRUPTED, conditions=states)
    assert not limited.contended
    assert limited.estimator == "thread CPU time"
    assert "the CPU quota stopped it in 93% of the quota's periods" in limited.judgement
    assert "close other programs" not in limited.judgement


def test_a_quota_is_part_of_the_fingerprint_and_none_is_as_before() -> None:
    limited = Fingerprint({**FINGERPRINT.facts, "cpu_quota": 0.5})
    assert limited.key != FINGERPRINT.key
    assert "· 1 thread · CPU quota 0.5 cores · batch 1" in limited.describe(CPU_PLAN)
    assert "quota" not in FINGERPRINT.describe(CPU_PLAN)
    assert "cpu_quota" not in machine_facts() or machine_facts()["cpu_quota"] > 0


def test_a_description_says_whether_half_precision_is_computed_in() -> None:
    """ncnn may use fp16, and does on processors that have it."""
    plan = CPU_PLAN.changed(runtime="ncnn")
    for has_it, said in ((True, "· fp16"), (False, "· fp16 · computed in fp32")):
        there = Fingerprint({**FINGERPRINT.facts, "fp16_arithmetic": has_it})
        assert there.describe(plan).endswith(said)
        assert "fp16" not in there.describe(plan.changed(precision="fp32"))
        assert there.describe(plan.changed(precision="int8")).endswith("· int8")


@pytest.mark.parametrize(
    ("ms", "switches", "cpu_share", "threads", "contended"),
    [
        (5.0, 1, 1.0, 1, True),  # 200 switches a second
        (100.0, 1, 1.0, 1, False),  # 10 a second: an idle system's own threads
        (100.0, 2, 0.99, 1, False),
        (100.0, 3, 1.0, 1, True),  # 30 a second
        (1000.0, 20, 1.0, 1, False),
        (1000.0, 20, 0.8, 1, True),  # few, but long
        (1000.0, 200, 0.5, 1, True),
        (1000.0, 5, 0.5, 4, False),  # of several threads, the CPU time of one says nothing
        (1000.0, 50, 1.0, 4, True),
    ],
)
def test_long_runs_are_judged_by_their_switches_a_second(
    ms: float, switches: int, cpu_share: float, threads: int, contended: bool
) -> None:
    runs = with_samples(wall=(ms,) * 100, cpu=(ms * cpu_share,) * 100, switches=(switches,) * 100)
    found = dataclasses.replace(runs, plan=dataclasses.replace(CPU_PLAN, threads=threads))
    assert found.contended == contended
    if not contended:
        assert found.estimator == "undisturbed wall time"
        assert found.median_ms == ms


def test_more_threads_than_cores_are_contention_even_where_no_run_was_interrupted() -> None:
    facts = {**FINGERPRINT.facts, "affinity": [0, 1]}
    crowded = ({"runnable": 3}, {"runnable": 1}, {"runnable": 3})
    wanted = dataclasses.replace(STEADY, fingerprint=Fingerprint(facts), conditions=crowded)
    assert wanted.contended
    assert wanted.judgement == (
        "contended: others wanted the same cores, undisturbed wall time is used; "
        "close other programs"
    )
    interrupted = dataclasses.replace(wanted, samples=INTERRUPTED.samples)
    assert "contended: 50% of runs were interrupted, thread" in interrupted.judgement
    once = ({"runnable": 3}, {"runnable": 2}, {"runnable": 2})
    assert not dataclasses.replace(wanted, conditions=once).contended


def test_with_threads_undisturbed_runs_stand_in() -> None:
    plan = dataclasses.replace(CPU_PLAN, threads=2)
    threaded = dataclasses.replace(with_samples(INTERRUPTED, cpu=(1.0,) * 100), plan=plan)
    assert threaded.estimator == "undisturbed wall time"
    assert threaded.median_ms == 5.0
    assert threaded.contended


def test_without_counted_switches_the_clocks_are_compared() -> None:
    blind = with_samples(switches=None)
    assert not blind.contended
    slow = with_samples(blind, wall=(6.0,) * 100)
    assert slow.contended
    assert slow.median_ms == 5.0
    assert "contended, thread CPU time" in slow.judgement


@pytest.mark.parametrize(
    ("measurement", "complaint"),
    [
        (dataclasses.replace(STEADY, stationary=False), "never warmed up"),
        (with_samples(wall=(5.0,) * 94 + (7.0,) * 6), "unstable: p95/median 1.40"),
        (with_samples(wall=tuple(5 + 0.005 * i for i in range(100))), "drifted by +7%"),
        (
            with_samples(wall=(5.0,), cpu=(5.0,), switches=(0,), rounds=(0,)),
            "no interval from 1 run",
        ),
        (
            dataclasses.replace(STEADY, conditions=({}, {"khz": 1e6}, {"khz": 6e5})),
            "the clock fell from 1000 to 600 MHz",
        ),
    ],
)
def test_judgements(measurement: Measurement, complaint: str) -> None:
    assert complaint in measurement.judgement


def test_the_ratio_is_to_the_network_in_the_same_rounds() -> None:
    assert BESIDE.ratio is not None
    assert BESIDE.ratio[0] == pytest.approx(2)
    assert BESIDE.reference_ms == pytest.approx(STEADY.median_ms / 2)
    assert STEADY.ratio is None
    latency = BESIDE.latency("cpu")
    assert (latency.reference, latency.ratio) == ("shufflenet_v2_x0_5", BESIDE.ratio[0])


def test_networks_of_two_sessions_are_not_set_in_relation() -> None:
    other = dataclasses.replace(STEADY, session="b")
    with pytest.raises(ValueError, match="one session"):
        STEADY.relative_to(other)
    assert STEADY.relative_to(STEADY) == (1.0, (1.0, 1.0))


def test_a_figure_at_another_pace_of_the_reference() -> None:
    latency = BESIDE.latency("cpu")
    slow = latency.scaled_to(5.0)
    assert slow.ms == pytest.approx(10.0)
    assert latency.ratio_ci is not None
    assert slow.ci_ms == pytest.approx((latency.ratio_ci[0] * 5, latency.ratio_ci[1] * 5))
    assert slow.note.startswith("measured 5.003 ms while shufflenet_v2_x0_5 took 2.50")
    assert slow.ratio == latency.ratio
    with pytest.raises(ValueError, match="no reference"):
        STEADY.latency("cpu").scaled_to(5.0)


def test_a_figure_after_heating_up_says_what_it_was_at_first() -> None:
    plan = dataclasses.replace(CPU_PLAN, heat_s=300)
    other = dataclasses.replace(STEADY, plan=plan)
    heated = dataclasses.replace(other, heating=((5.0, 4.0), (300.0, 5.0)))
    assert "after 5.0 min of running, 4.000 ms at first" in heated.latency("cpu").note
    assert "after 5.0 min of running" in other.latency("cpu").note
    assert "at first" not in other.latency("cpu").note


def test_times_under_an_emulator_are_not_called_measured() -> None:
    facts = Fingerprint({**FINGERPRINT.facts, "emulator": "qemu-aarch64"})
    latency = dataclasses.replace(STEADY, fingerprint=facts).latency("board")
    assert latency.provenance == "emulated"
    assert "ran under qemu-aarch64: no latency of any device" in latency.note


def slowed(measurement: Measurement, factor: float) -> Measurement:
    """The same session on a device that is slower by a factor."""
    own, beside = measurement.samples, measurement.beside
    assert beside is not None

    def slower(samples: Samples) -> Samples:
        return samples._replace(
            wall=tuple(factor * ms for ms in samples.wall),
            cpu=tuple(factor * ms for ms in samples.cpu),
        )

    return dataclasses.replace(
        measurement,
        samples=slower(own),
        beside=dataclasses.replace(beside, samples=slower(beside.samples)),
        stationary=factor < 1.1,
    )


STEADILY = Repeatability(Spread(0.0, 4), Spread(0.0, 4), "graded 2026-11-24", 2.5015)
FACTORS = (1.0, 1.02, 0.98, 1.04)


def joined(*factors: float, repeatability: Repeatability = STEADILY) -> Measurement:
    sessions = [slowed(BESIDE, factor) for factor in factors]
    found = Measurement.joined(sessions, CPU_PLAN)
    return dataclasses.replace(found, repeatability=repeatability)


def test_sessions_are_joined_run_by_run_and_round_by_round() -> None:
    found = joined(1.0, 1.2)
    assert found.starts == (0, 20)
    assert found.runs == 200
    assert found.samples.rounds == tuple(n // 5 for n in range(200))
    assert found.beside is not None and found.beside.samples.rounds == found.samples.rounds
    assert found.samples.wall == (*SAMPLES.wall, *(1.2 * ms for ms in SAMPLES.wall))
    assert (found.warmup_runs, found.stationary) == (40, False)
    assert len(found.conditions) == 3 + 2, "later sessions start at rest too"
    assert found.series == {"event_ms": (1.0, 2.0, 1.0, 2.0)}
    assert found.plan == CPU_PLAN and found.latency("cpu").sessions == 2
    assert Measurement.joined([BESIDE], CPU_PLAN) == BESIDE
    again = Measurement.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found


def test_sessions_without_counted_switches_or_a_reference_are_joined_too() -> None:
    blind = Measurement.joined([STEADY, with_samples(switches=None)], CPU_PLAN)
    assert blind.samples.switches is None
    assert blind.beside is None
    assert blind.median_ms == STEADY.median_ms


def test_the_interval_of_several_sessions_holds_what_they_differ_by() -> None:
    alone, several = joined(1.0), joined(*FACTORS)
    assert alone.ci_ms is not None and several.ci_ms is not None
    assert alone.ci_ms[1] / alone.ci_ms[0] < 1.01
    logs = [math.log(5 * factor) for factor in FACTORS]
    half = 3.182 * statistics.stdev(logs) / math.sqrt(4) * math.sqrt(2)
    assert several.ci_ms[1] / several.median_ms == pytest.approx(math.exp(half), rel=0.002)
    assert several.ratio is not None and several.ratio[1] is not None
    assert several.ratio[1] == pytest.approx((2.0, 2.0), rel=0.005), "the ratio is of rounds"


@pytest.mark.parametrize("factors", [(1.0,), (1.0, 1.0, 1.0)])
def test_what_the_grade_saw_widens_the_interval_of_a_few_sessions(
    factors: tuple[float, ...],
) -> None:
    known = Repeatability(Spread(0.03, 4), Spread(0.01, 4), "graded 2026-11-24")
    found = joined(*factors, repeatability=known)
    assert found.ci_ms is not None and found.ratio is not None and found.ratio[1] is not None
    assert found.ci_ms[1] / found.median_ms == pytest.approx(
        math.exp(2.776 * 0.03 * 2**0.5), rel=1e-3
    )
    assert found.ratio[1][1] / 2 == pytest.approx(math.exp(2.776 * 0.01 * 2**0.5), rel=1e-3)
    assert "ms vary by 3.0%, ratios by 1.0% (graded 2026-11-24)" in found.latency("cpu").repeats


def test_beside_other_programs_commands_differ_by_more() -> None:
    quiet = dataclasses.replace(BESIDE, repeatability=STEADILY)
    busy = dataclasses.replace(quiet, samples=INTERRUPTED.samples, repeatability=STEADILY)
    assert quiet.ci_ms is not None and busy.ci_ms is not None
    assert quiet.ci_ms[1] / quiet.ci_ms[0] < 1.01
    assert "graded 2026-11-24; at least so much beside other" in busy.latency("cpu").repeats
    assert busy.ci_ms[1] / busy.median_ms == pytest.approx(
        math.exp(1.962 * 0.06 * 2**0.5), rel=1e-2
    )


def test_a_slower_processor_is_recognised_by_the_reference_network() -> None:
    usual, slow, fast = joined(1.0), joined(1.2, 1.2, 1.2), joined(0.9, 0.9, 0.9)
    assert usual.judgement == ""
    assert "took 1.20 times its usual 2.502 ms (graded 2026-11-24)" in slow.judgement
    assert "a neighbour that shares its cores" in slow.judgement
    assert "the processor is faster now" in fast.judgement
    assert slow.ci_ms is not None and slow.ci_ms[0] <= usual.median_ms <= slow.ci_ms[1]
    assert fast.ci_ms is not None and fast.ci_ms[0] <= usual.median_ms <= fast.ci_ms[1]
    restless = dataclasses.replace(STEADILY, ms=Spread(0.12, 4))
    assert "usual" not in joined(1.2, 1.2, 1.2, repeatability=restless).judgement
    unknown = dataclasses.replace(STEADILY, reference_ms=None)
    assert "usual" not in joined(1.2, 1.2, 1.2, repeatability=unknown).judgement


def test_a_measurement_of_an_older_version_is_one_session() -> None:
    document = {**BESIDE.to_json(), "schema": 2}
    del document["starts"]
    assert Measurement.from_json(document) == BESIDE


def test_another_schema_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="schema 1; this version reads 3"):
        Measurement.from_json({**STEADY.to_json(), "schema": 1})


def test_the_latency_says_what_and_where() -> None:
    latency = STEADY.latency("cpu")
    assert latency.device == "cpu: A board Cortex-A72 · onnxruntime 1.20 · 1 thread · batch 1"
    assert latency.provenance == "measured"
    assert latency.note == "event_ms 1.5"
    assert list(latency.to_json()) == [
        "ms",
        "ci_ms",
        "p95_ms",
        "provenance",
        "device",
        "runs",
        "contended",
        "note",
        "reference",
        "ratio",
        "ratio_ci",
        "reference_ms",
        "measured_at",
        "stored",
        "sessions",
        "repeats",
    ]
    assert latency.measured_at == STEADY.measured_at
    assert not latency.stored
    assert STEADY.latency("cpu", stored=True).stored


def test_the_ratio_of_an_int8_figure_says_what_it_is_to() -> None:
    int8 = dataclasses.replace(BESIDE, plan=dataclasses.replace(CPU_PLAN, precision="int8"))
    assert "its ratio is to shufflenet_v2_x0_5 in int8" in int8.latency("cpu").note
    assert "its ratio" not in BESIDE.latency("cpu").note


@pytest.mark.parametrize(
    "latency",
    [
        STEADY.latency("cpu"),
        BESIDE.latency("cpu"),
        Latency(1.0, None, None, "emulated", "A57", None, None, "±3 %"),
    ],
)
def test_latency_json_round_trip(latency: Latency) -> None:
    assert Latency.from_json(json.loads(json.dumps(latency.to_json()))) == latency


def test_fingerprints_are_named_by_content() -> None:
    turned = Fingerprint(dict(reversed(list(FINGERPRINT.facts.items()))))
    assert turned.key == FINGERPRINT.key
    assert Fingerprint({**FINGERPRINT.facts, "threads": 2}).key != FINGERPRINT.key
