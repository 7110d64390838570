"""The facts of a report: the study's own, its devices, the cards of its networks, importances."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.measurement_check import read_measurement
from nas_sv2.latency.measurements.store import MeasurementRow
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.report.importance import Importance, importances_of
from nas_sv2.studies.report.network_card import Winner, parts_of, reuse_png, scores_of, wasted_by
from nas_sv2.studies.storage.facts import StudyFacts, read_study
from nas_sv2.studies.storage.study import Identity, width_factor_of
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Profiles = Mapping[int, Mapping[str, Profile]]
"""The profiles of networks, by trial and target."""
Breakdown = Callable[[Mapping[int, Record], Identity], tuple[Profiles, Sequence[str]]]
"""Gives the profiles of networks, and the reason for each missing target, a line each."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
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


@dataclass(frozen=True)
class ReportFacts:
    """The facts of a study and the further content of its report.

    Attributes:
        study: The facts of the study.
        importances: The importances of parameters, by objective; empty for too few trials.
        devices: The devices behind the latencies.
        winners: A card for each network of the front.
        notes: The reasons for missing profiles, a line each.
    """

    study: StudyFacts
    importances: Sequence[Importance]
    devices: Sequence[DeviceFacts]
    winners: Sequence[Winner]
    notes: Sequence[str]


def read_report(db: Database, name: str, breakdown: Breakdown) -> ReportFacts:
    """Read the facts of a study's report.

    Args:
        db: The database of the study.
        name: The name of the study.
        breakdown: Gives profiles; called once, with the networks of the front.

    Raises:
        ConfigError: The study does not exist, or has no finished trial yet.
        StoreError: The database cannot be read.
    """
    study = read_study(db, name)
    if not study.records:
        raise ConfigError("study", name, "must be a study with a finished trial; it has none yet")
    on_front = {entry.number: entry.record for entry in study.front.members}
    profiles, notes = breakdown(on_front, study.identity)
    return ReportFacts(
        study,
        importances_of(study.trials, study.records, study.metrics),
        devices_of(db, study.records.values()),
        _winners(db, study, on_front, profiles),
        notes,
    )


def _winners(
    db: Database, study: StudyFacts, front: Mapping[int, Record], profiles: Profiles
) -> list[Winner]:
    baseline = next(iter(study.baselines.values()), None)
    weights = WeightsFolder.of_study(db, study.key)
    guidelines = study.identity.get("guidelines", {})
    own = _own_guidelines(db, guidelines.get("measured", {}))
    limits = {} if "measured" in guidelines else guidelines
    factor = width_factor_of(study.identity)
    found = []
    for number, record in front.items():
        kept = weights.find(record.architecture.digest)
        trained = record.evaluation
        found.append(
            Winner(
                number,
                record,
                parts_of(record.architecture),
                scores_of(record, None if record is baseline else baseline, limits),
                wasted_by(record, own),
                profiles.get(number, {}),
                None if kept is None else reuse_png(record, kept, factor),
                f"weights of the {trained.recipe} training, seed {trained.seed}",
            )
        )
    return found


def _own_guidelines(db: Database, digests: Mapping[str, str]) -> dict[str, GuidelineProfile]:
    store = ProfileStore(db)
    found = {target: store.find_digest(digest) for target, digest in digests.items()}
    return {target: profile for target, profile in found.items() if profile is not None}


def devices_of(db: Database, records: Iterable[Record]) -> list[DeviceFacts]:
    """Return the devices behind the latencies of `records`, each once.

    An older database may lack facts of a device.

    Raises:
        StoreError: Measurements cannot be read.
    """
    found: dict[str, DeviceFacts] = {}
    for record in records:
        for target, latency in record.latencies.items():
            known = found.get(latency.device)
            if known is None or (known.key is None and latency.provenance == "measured"):
                found[latency.device] = _device(db, record, target, latency)
    return list(found.values())


def _device(db: Database, record: Record, target: str, latency: Latency) -> DeviceFacts:
    plain = DeviceFacts(target, latency.provenance, latency.device)
    if latency.provenance != "measured":
        return plain
    for text in _documents(db, record.architecture.digest):
        try:
            measurement = read_measurement(text)
        except ValueError:  # damaged, or of another version
            continue
        if measurement.latency(target).device == latency.device:
            return DeviceFacts(
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
