"""Read measurements from an agent's answer, and refuse answers that are not valid."""

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.agent.estimator import Samples
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.measurement import Beside, Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan

NS_PER_MS = 1e6


def measurements_of(
    answer: Mapping[str, Any],
    payloads: Sequence[Payload],
    plan: MeasurePlan,
    reference: Payload | None,
) -> list[Measurement]:
    """Read the measurements of `payloads`; the answer is in their order, then `reference`.

    Raises:
        MeasurementError: The answer is not valid, or about other networks.
    """
    try:
        networks = answer["networks"]
        sent = [*payloads, *([] if reference is None else [reference])]
        if [network["digest"] for network in networks] != [payload.digest for payload in sent]:
            raise MeasurementError("the agent answered for another model")
        samples = [_samples(network) for network in networks]
        beside = None
        if reference is not None and plan.reference is not None:
            beside = Beside(plan.reference, samples[-1])
        shared: dict[str, Any] = {
            "plan": plan,
            "fingerprint": Fingerprint(answer["fingerprint"]),
            "session": uuid.uuid4().hex,
            "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "conditions": tuple(answer["conditions"]),
            "beside": beside,
        }
        return [
            Measurement(
                architecture=payload.architecture,
                samples=samples[index],
                warmup_runs=networks[index]["warmup_runs"],
                stationary=networks[index]["stationary"],
                series={name: tuple(ms) for name, ms in networks[index]["series"].items()},
                heating=() if index else tuple((at_s, ms) for at_s, ms in answer["heating"]),
                **shared,
            )
            for index, payload in enumerate(payloads)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"the agent's answer is no measurement: {error!r}") from error


def _samples(network: Mapping[str, Any]) -> Samples:
    """Read the runs of one network, in ms."""
    wall, cpu, rounds = network["wall_ns"], network["cpu_ns"], network["rounds"]
    switches = network["switches"]
    columns = [wall, cpu, rounds, *([] if switches is None else [switches])]
    if len({len(column) for column in columns}) != 1 or not wall:
        raise ValueError("runs without a time")
    if min(wall) <= 0 or min(cpu) < 0:
        raise ValueError("a clock that stands or goes backwards")
    return Samples(
        wall=tuple(time_ns / NS_PER_MS for time_ns in wall),
        cpu=tuple(time_ns / NS_PER_MS for time_ns in cpu),
        switches=None if switches is None else tuple(switches),
        rounds=tuple(rounds),
    )
