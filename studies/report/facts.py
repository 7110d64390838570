"""What a report of a study says beyond the study's facts: its networks, and what decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.report.importance import Importance, importances_of
from nas_sv2.studies.report.network_card import Winner, parts_of, reuse_png, scores_of, wasted_by
from nas_sv2.studies.storage.facts import StudyFacts, read_study
from nas_sv2.studies.storage.fingerprints import Device, devices_of
from nas_sv2.studies.storage.study import Identity
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Profiles = Mapping[int, Mapping[str, Profile]]
"""Where the time of networks goes: by trial, by target."""
Breakdown = Callable[[Mapping[int, Record], Identity], tuple[Profiles, Sequence[str]]]
"""Gives profiles of networks, and why a target has none, a line each."""


@dataclass(frozen=True)
class ReportFacts:
    """A study and everything else that its report says.

    Attributes:
        study: The facts of the study.
        importances: What decided each objective; empty from too few trials.
        devices: The devices that measured.
        winners: A card for each network of the front.
        notes: Why the time of the winners is not known on a target, a line each.
    """

    study: StudyFacts
    importances: Sequence[Importance]
    devices: Sequence[Device]
    winners: Sequence[Winner]
    notes: Sequence[str]


def read_report(db: Database, name: str, breakdown: Breakdown) -> ReportFacts:
    """Read everything that the report of a study says.

    Args:
        db: The database of the study.
        name: The name of the study.
        breakdown: Is asked once, for the networks of the front.

    Raises:
        ConfigError: There is no such study, or it has no finished trial yet.
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
                None if kept is None else reuse_png(record, kept),
                f"weights of the {trained.recipe} training, seed {trained.seed}",
            )
        )
    return found


def _own_guidelines(db: Database, digests: Mapping[str, str]) -> dict[str, GuidelineProfile]:
    store = ProfileStore(db)
    found = {target: store.find_digest(digest) for target, digest in digests.items()}
    return {target: profile for target, profile in found.items() if profile is not None}
