"""Grade a device: how far its measurements can be trusted, and how to improve them.

Several sessions, apart in time and each with its own agent, time one network in alternation
with the reference network. A later command, or another day, would differ by as much as the
sessions differ. The sessions' records of clocks, programs and hypervisors give the reasons.
"""

import datetime
import shlex
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.reconnecting import check_same
from nas_sv2.latency.measurements.conditions import (
    QUOTA_USED_UP,
    STOLEN_SHARE,
    clock_complaints,
    quota_share,
    stolen_share,
)
from nas_sv2.latency.measurements.grade import Finding, Grade, Level
from nas_sv2.latency.measurements.measurement import (
    DRIFTING,
    UNSTABLE,
    Measurement,
)
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.units.reference import reference

SESSIONS, QUICK_SESSIONS, MOST_SESSIONS = 5, 3, 100
PAUSE_S, QUICK_PAUSE_S = 5.0, 0.5
"""Pauses between sessions, so that they meet the device in different states."""
MOST_PAUSE_S = 3600.0
NETWORKS = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0")
"""Candidates for the timed network: the first that differs from the reference is used."""

# The largest values of a good and of a fair device.
RATIO_CV = (0.01, 0.03)
"""Coefficient of variation of the ratio between sessions.

On a machine at rest, ratios repeat to 0.3-1 %. Networks of equal FLOPs often differ by 3 %, so
that ratios which scatter by more cannot order them."""
REFERENCE_CV = (0.03, 0.15)
"""Coefficient of variation of the reference network's time between sessions.

A machine at rest repeats to 1-2 %. About a quarter of a slowdown remains in ratios: one slowed
V2 1× by 26 % and V2 2× by 18 %, and their ratio by 7 %. Beyond 15 % even ratios are unsafe."""
CONTENDED = (0.2, 0.5)
"""Share of sessions with other programs; one in five is an accident.

The CPU time of one thread excludes other programs; several threads have no such clock. For
them, more than half of the sessions is poor."""
DRIFT = (DRIFTING, 0.15)
"""Drift within a session of seconds; the limits of a measurement and of `REFERENCE_CV`."""
STOLEN = (STOLEN_SHARE, 0.1)
"""Share of time that a hypervisor took; beyond a tenth, every second round holds a gap."""
NOISE = (UNSTABLE, 1.5)
"""p95 / median of the runs that count.

Beyond 1.5 the median itself lies between two states of the machine."""
QUOTA = (QUOTA_USED_UP, 0.1)
"""Share of a CPU quota's periods in which it was used up; as `STOLEN`, for the same gaps."""
THROTTLED = (0.0, 0.5)
"""Share of throttled sessions; beyond half, the figure is that of an overheated device."""

Progress = Callable[[int, int], None]


def check_request(sessions: int, pause_s: float) -> None:
    """Check the arguments of `examine`.

    Raises:
        ConfigError: A number is out of range.
    """
    if not QUICK_SESSIONS <= sessions <= MOST_SESSIONS:
        allowed = f"must be a whole number from {QUICK_SESSIONS} to {MOST_SESSIONS}"
        raise ConfigError("sessions", sessions, allowed)
    if not 0 <= pause_s <= MOST_PAUSE_S:
        raise ConfigError("pause", pause_s, f"must be from 0 to {MOST_PAUSE_S:.0f} seconds")


def examine(
    device: MeasuredDevice,
    sessions: int = SESSIONS,
    pause_s: float = PAUSE_S,
    progress: Progress = lambda done, total: None,
) -> Grade:
    """Grade a device for its plan, and keep the grade and all measurements.

    Raises:
        ConfigError: The plan has no reference network.
        DeviceError: The device is missing, unreachable or lacks its runtime, or it changed between
            sessions.
        MeasurementError: The device answered without a latency.
        StoreError: The grade cannot be kept.
    """
    if device.plan.reference is None:
        allowed = "must be a reference network, for a grade rests on ratios to it"
        raise ConfigError("plan.reference", None, allowed)
    name = next(name for name in NETWORKS if name != device.plan.reference)
    alone = replace(device, plan=device.plan.changed(sessions=1))
    found: list[Measurement] = []
    for number in range(sessions):
        progress(number, sessions)
        if number > 0:
            time.sleep(pause_s)
        found += alone.measure_together([reference(name)])
        device.close()  # the next session starts an agent of its own
    grade = grade_of(found, name)
    if device.store is not None:
        device.store.save_grade(found[-1].fingerprint, device.plan, grade)
    return grade


def grade_of(sessions: Sequence[Measurement], network: str) -> Grade:
    """Grade a device from measurements of `network`, one from each session.

    Raises:
        DeviceError: The measurements are not of one device.
        MeasurementError: A session did not time the reference network.
    """
    for session in sessions:
        check_same("the device", sessions[0].fingerprint, session.fingerprint)
    times = [session.reference_ms for session in sessions if session.reference_ms is not None]
    ratios = [session.ratio[0] for session in sessions if session.ratio is not None]
    if len(times) < len(sessions) or len(ratios) < len(sessions):
        raise MeasurementError("a session had no round in common with the reference network")
    beside = sessions[-1].beside
    assert beside is not None, "it has a ratio"
    shares = (stolen_share(session.conditions) for session in sessions)
    stolen = [share for share in shares if share is not None]
    found = sorted(_findings(sessions, times, ratios, stolen), key=lambda f: _RANK[f.level])
    return Grade(
        grade=found[0].level if found else "good",
        sessions=len(sessions),
        reference=beside.name,
        reference_ms=statistics.median(times),
        reference_cv=_variation(times),
        network=network,
        ratio=statistics.median(ratios),
        ratio_cv=_variation(ratios),
        contended=_share(session.contended for session in sessions),
        drift=max((session.drift for session in sessions), key=abs),
        noise=statistics.median(session.noise for session in sessions),
        stolen=max(stolen, default=None),
        graded_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        findings=tuple(found),
    )


def trust_warning(target: Target) -> str | None:
    """Return a warning to read before a search on this target.

    None if nothing is measured there, or if its grade is good or fair.

    Raises:
        DeviceError: The device is missing, unreachable or lacks its runtime.
        StoreError: Grades cannot be read.
    """
    device = target.device
    if device is None or device.store is None:
        return None
    grade = device.store.grade(device.fingerprint(), device.plan)
    words = ("nas-sv2", "device", "grade", "--target", target.name, *device.store.db.options)
    command = shlex.join(words)
    if grade is None:
        return f"run {command} to know how far {target.name} can be trusted"
    if grade.grade != "poor":
        return None
    worst = grade.findings[0]
    return f"{target.name} was graded poor ({worst.what}); {worst.fix}, then run {command} again"


_RANK: Mapping[Level, int] = {"poor": 0, "fair": 1, "good": 2}


def _findings(
    sessions: Sequence[Measurement],
    times: Sequence[float],
    ratios: Sequence[float],
    stolen: Sequence[float],
) -> Iterator[Finding]:
    """Yield each finding against the device."""
    yield from _spread_findings(times, ratios)
    yield from _clock_findings(sessions)
    yield from _noise_findings(sessions, stolen)
    yield from _setup_findings(sessions[0])


def _spread_findings(times: Sequence[float], ratios: Sequence[float]) -> Iterator[Finding]:
    """Judge how far the sessions differ."""
    varied = _variation(ratios)
    yield from _finding(
        varied,
        RATIO_CV,
        f"the ratio of two networks varied by {varied:.1%} from session to session",
        "mend what else is found here, and compare only networks of one command",
    )
    varied = _variation(times)
    yield from _finding(
        varied,
        REFERENCE_CV,
        f"the reference network's ms varied by {varied:.1%} from session to session",
        "compare ratios, not ms of different days; a machine that nobody shares would be better",
    )


def _clock_findings(sessions: Sequence[Measurement]) -> Iterator[Finding]:
    """Judge other programs, drift and heat."""
    wanted = _share(session.contended for session in sessions)
    own_clock = sessions[0].plan.cpu_time_is_latency
    yield from _finding(
        wanted,
        (CONTENDED[0], 1.0 if own_clock else CONTENDED[1]),
        f"other programs wanted the processor in {wanted:.0%} of the sessions",
        "close them (`top` shows them)" + ("" if own_clock else ", or measure with threads=1"),
    )
    drift = max((session.drift for session in sessions), key=abs)
    yield from _finding(
        abs(drift),
        DRIFT,
        f"the device drifted by {drift:+.0%} within a session",
        "let it cool or rest first, or heat it first: heat_s=300",
    )
    complaints = [clock_complaints(session.conditions) for session in sessions]
    hot = ["; ".join(one.split(";")[0] for one in found) for found in complaints if found]
    yield from _finding(
        len(hot) / len(sessions),
        THROTTLED,
        f"{hot[0] if hot else ''} (in {len(hot)} of {len(sessions)} sessions)",
        "give it a fan or a fixed clock (turbo off: echo 0 | sudo tee "
        "/sys/devices/system/cpu/cpufreq/boost), or time it hot: heat_s=300",
    )


def _noise_findings(sessions: Sequence[Measurement], stolen: Sequence[float]) -> Iterator[Finding]:
    """Judge stolen time, a CPU quota, noise within sessions and the warm-up."""
    share = max(stolen, default=0.0)
    yield from _finding(
        share,
        STOLEN,
        f"a hypervisor took {share:.0%} of a session's time for other machines",
        "ask for a machine with processors of its own, or measure at another hour",
    )
    stopped = max(quota_share(session.conditions) for session in sessions)
    quota = sessions[0].fingerprint.facts.get("cpu_quota")
    yield from _finding(
        stopped,
        QUOTA,
        f"the CPU quota ({quota} cores) stopped it in {stopped:.0%} of the quota's periods",
        "raise the quota (docker --cpus, limits.cpu of Kubernetes, CPUQuota of systemd)",
    )
    noise = statistics.median(session.noise for session in sessions)
    cores = _cores(sessions[0])
    yield from _finding(
        noise,
        NOISE,
        f"run times are noisy: p95 is {noise:.2f} times the median",
        "raise the quota"
        if stopped > QUOTA[0]
        else f"close other programs; keep to one core: affinity=[{cores[-1] if cores else 0}]",
    )
    if not all(session.stationary for session in sessions):
        cold = sum(not session.stationary for session in sessions)
        what = f"it never warmed up in {cold} of {len(sessions)} sessions"
        yield Finding("fair", what, "close other programs and let it come to rest")


def _setup_findings(session: Measurement) -> Iterator[Finding]:
    """Judge the governor of the clock, and the cores that the threads run on."""
    plan, facts = session.plan, session.fingerprint.facts
    governor = facts.get("governor", "performance")
    if governor != "performance" and plan.processor == "cpu":
        what = f"the clock follows the load (governor {governor!r})"
        yield Finding("fair", what, "sudo cpupower frequency-set -g performance")
    if " + " in str(facts.get("cpu")) and plan.affinity is None:
        what = f"threads may move between kinds of core ({facts['cpu']})"
        yield Finding(
            "fair", what, "keep to one kind: `lscpu -e` lists them; such as affinity=[4]"
        )


def _finding(value: float, limits: tuple[float, float], what: str, fix: str) -> Iterator[Finding]:
    """Yield the finding unless the value is that of a good device."""
    level = _level(value, limits)
    if level != "good":
        yield Finding(level, what, fix)


def _cores(session: Measurement) -> Sequence[int]:
    """Return the cores that the device's programs may run on; empty if they are unknown."""
    return session.fingerprint.facts.get("affinity") or ()


def _level(value: float, limits: tuple[float, float]) -> Level:
    if value > limits[1]:
        return "poor"
    return "fair" if value > limits[0] else "good"


def _variation(values: Sequence[float]) -> float:
    return statistics.stdev(values) / statistics.mean(values)


def _share(truths: Iterable[bool]) -> float:
    return statistics.mean(map(float, truths))
