"""The facts of a report: the study's own, the cards of its networks, and importances."""

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
from nas_sv2.studies.storage.study import Identity, width_factor_of
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Profiles = Mapping[int, Mapping[str, Profile]]
"""The profiles of networks, by trial and target."""
Breakdown = Callable[[Mapping[int, Record], Identity], tuple[Profiles, Sequence[str]]]
"""Gives the profiles of networks, and the reason for each missing target, a line each."""


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
    devices: Sequence[Device]
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
