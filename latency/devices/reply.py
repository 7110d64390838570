"""Read measurements from an agent's answer, and refuse answers that are not valid."""

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.measurements.measurement import SCHEMA, Measurement
from nas_sv2.latency.measurements.measurement_check import (
    Answer,
    AnsweredNetwork,
    checked_measurement,
    convert,
)
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
        MeasurementError: The answer is not valid, or about other networks; names the field.
    """
    sent = [*payloads, *([] if reference is None else [reference])]
    try:
        found = convert(answer, Answer)
        if [network.digest for network in found.networks] != [one.digest for one in sent]:
            raise ValueError("networks: it is about other networks")
        documents = _documents(found, payloads, plan, reference)
        return [checked_measurement(one, alone=reference is None) for one in documents]
    except ValueError as error:
        raise MeasurementError(f"the agent's answer is not a measurement: {error}") from error


def _documents(
    answer: Answer, payloads: Sequence[Payload], plan: MeasurePlan, reference: Payload | None
) -> list[dict[str, Any]]:
    """Return the measurements as `Measurement.to_json` would."""
    beside = None
    if reference is not None:
        beside = [plan.reference, _samples(answer.networks[-1])]
    shared = {
        "schema": SCHEMA,
        "plan": plan.to_json(),
        "fingerprint": answer.fingerprint,
        "session": uuid.uuid4().hex,
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "conditions": answer.conditions,
        "beside": beside,
    }
    return [
        {
            "architecture": payload.architecture,
            "samples": _samples(network),
            "warmup_runs": network.warmup_runs,
            "stationary": network.stationary,
            "series": network.series,
            "heating": [] if index else answer.heating,
            "fallen_back": network.fallen_back,
            **shared,
        }
        for index, (payload, network) in enumerate(zip(payloads, answer.networks, strict=False))
    ]


def _samples(network: AnsweredNetwork) -> dict[str, Any]:
    """Return the runs of one network, in ms."""
    return {
        "wall": [time_ns / NS_PER_MS for time_ns in network.wall_ns],
        "cpu": [time_ns / NS_PER_MS for time_ns in network.cpu_ns],
        "switches": network.switches,
        "rounds": network.rounds,
    }
