"""Find the devices on which a study's latencies were measured, with their fingerprints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.measurement_check import read_measurement
from nas_sv2.latency.measurements.store import MeasurementRow
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True, slots=True)
class Device:
    """The device behind a target's latencies.

    Attributes:
        target: The name of the target.
        provenance: The origin of its latencies.
        described: Processor, runtime, threads and batch, as every latency names them.
        key: Digest of the fingerprint; None if no measurement is stored.
        facts: The facts of the fingerprint.
        plan: The fields of the plan.
    """

    target: str
    provenance: str
    described: str
    key: str | None = None
    facts: Mapping[str, Any] | None = None
    plan: Mapping[str, Any] | None = None


def devices_of(db: Database, records: Iterable[Record]) -> list[Device]:
    """Return the devices behind the latencies of `records`, each once.

    An older database may lack facts of a device.

    Raises:
        StoreError: Measurements cannot be read.
    """
    found: dict[str, Device] = {}
    for record in records:
        for target, latency in record.latencies.items():
            known = found.get(latency.device)
            if known is None or (known.key is None and latency.provenance == "measured"):
                found[latency.device] = _device(db, record, target, latency)
    return list(found.values())


def _device(db: Database, record: Record, target: str, latency: Latency) -> Device:
    plain = Device(target, latency.provenance, latency.device)
    if latency.provenance != "measured":
        return plain
    for text in _documents(db, record.architecture.digest):
        try:
            measurement = read_measurement(text)
        except ValueError:  # damaged, or of another version
            continue
        if measurement.latency(target).device == latency.device:
            return Device(
                target,
                latency.provenance,
                latency.device,
                measurement.fingerprint.key,
                measurement.fingerprint.facts,
                measurement.plan.to_json(),
            )
    return plain


def _documents(db: Database, digest: str) -> list[str]:
    query = (
        select(MeasurementRow.document)
        .where(MeasurementRow.architecture == digest)
        .order_by(MeasurementRow.id.desc())
    )
    with db.session("measurements cannot be read") as session:
        if not db.has_table(MeasurementRow.__tablename__):
            return []
        return list(session.scalars(query))
