import dataclasses
import json

import pytest

from nas_sv2.latency.local import CPU_PLAN
from nas_sv2.latency.measurement import Fingerprint, Latency, Measurement

FINGERPRINT = Fingerprint(
    {"cpu": "A board 0x41/0xd08", "runtime": "onnxruntime", "runtime_version": "1.20"}
)
STEADY = Measurement(
    architecture="0123456789abcdef",
    plan=CPU_PLAN,
    fingerprint=FINGERPRINT,
    wall_ms=tuple(5 + 0.001 * (index % 7) for index in range(100)),
    cpu_ms=(5.0,) * 100,
    switches=(0,) * 100,
    warmup_runs=20,
    stationary=True,
    runnable=1,
    measured_at="2026-01-01T00:00:00+00:00",
    series={"event_ms": (1.0, 2.0)},
)
INTERRUPTED = dataclasses.replace(
    STEADY, wall_ms=tuple(5.0 + 6 * (i % 2) for i in range(100)), switches=(0, 1) * 50
)


@pytest.mark.parametrize("measurement", [STEADY, dataclasses.replace(STEADY, switches=None)])
def test_json_round_trip(measurement: Measurement) -> None:
    assert Measurement.from_json(json.loads(json.dumps(measurement.to_json()))) == measurement


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


def test_more_threads_than_cores_are_contention_even_where_no_run_was_interrupted() -> None:
    facts = {**FINGERPRINT.facts, "affinity": [0, 1]}
    wanted = dataclasses.replace(STEADY, fingerprint=Fingerprint(facts), runnable=3)
    assert wanted.contended
    assert wanted.estimator == "undisturbed wall time"
    assert not dataclasses.replace(wanted, runnable=2).contended


def test_with_threads_undisturbed_runs_stand_in() -> None:
    plan = dataclasses.replace(CPU_PLAN, threads=2)
    threaded = dataclasses.replace(INTERRUPTED, plan=plan, cpu_ms=(1.0,) * 100)
    assert threaded.estimator == "undisturbed wall time"
    assert threaded.median_ms == 5.0
    assert threaded.contended


def test_without_counted_switches_the_clocks_are_compared() -> None:
    blind = dataclasses.replace(STEADY, switches=None)
    assert not blind.contended
    slow = dataclasses.replace(blind, wall_ms=(6.0,) * 100)
    assert slow.contended
    assert slow.median_ms == 5.0
    assert "contended, thread CPU time" in slow.judgement


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"stationary": False}, "never warmed up"),
        ({"wall_ms": (5.0,) * 94 + (7.0,) * 6}, "unstable: p95/median 1.40"),
        ({"wall_ms": tuple(5 + 0.005 * i for i in range(100))}, "interval 4.3% wide, 1%"),
        ({"wall_ms": (5.0,), "cpu_ms": (5.0,), "switches": (0,)}, "no interval from 1 runs"),
    ],
)
def test_judgements(change: dict[str, object], complaint: str) -> None:
    assert complaint in dataclasses.replace(STEADY, **change).judgement  # type: ignore[arg-type]


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
    ]


@pytest.mark.parametrize(
    "latency",
    [STEADY.latency("cpu"), Latency(1.0, None, None, "emulated", "A57", None, None, "±3 %")],
)
def test_latency_json_round_trip(latency: Latency) -> None:
    assert Latency.from_json(json.loads(json.dumps(latency.to_json()))) == latency


def test_fingerprints_are_named_by_content() -> None:
    turned = Fingerprint(dict(reversed(list(FINGERPRINT.facts.items()))))
    assert turned.key == FINGERPRINT.key
    assert Fingerprint({**FINGERPRINT.facts, "threads": 2}).key != FINGERPRINT.key
