"""Everything that a report of a study says, read once from its database."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from optuna.trial import FrozenTrial

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.studies.findings.attributes import AUDITED, IDENTITY, PRUNED, REJECTED, RELAXED
from nas_sv2.studies.findings.audit import Pruned, audit_guidelines
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.front import Entry, best_of, front_of
from nas_sv2.studies.findings.pairwise import find_ties
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.findings.stop_audit import StopAudit, audit_stops
from nas_sv2.studies.findings.trial_times import Times, times_of
from nas_sv2.studies.report.importance import Importance, importances_of
from nas_sv2.studies.report.network_card import Winner, parts_of, reuse_png, scores_of, wasted_by
from nas_sv2.studies.storage.certificate_store import CertificateStore
from nas_sv2.studies.storage.fingerprints import Device, devices_of
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import Run, runs_of
from nas_sv2.studies.storage.study import SCORES, Identity, load_study, store_errors, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Profiles = Mapping[int, Mapping[str, Profile]]
"""Where the time of networks goes: by trial, by target."""
Breakdown = Callable[[Mapping[int, Record], Identity], tuple[Profiles, Sequence[str]]]
"""Gives profiles of networks, and why a target has none, a line each."""


@dataclass(frozen=True)
class Facts:
    """A study, understood.

    Attributes:
        study: Its name.
        storage: Where it is, without a password.
        read_at: When it was read.
        identity: What all its trials depend on.
        records: What was found, by trial.
        entries: The front, fastest first, then the other baselines.
        best: The trial of the front with the highest score; None where none keeps the limits.
        audited: Trials that a guideline had pruned and the audit let go on: by which guideline.
        certificate: Of the recipe on the data, or None.
        ties: Neighbours on the front, worse and better, that the recipe cannot tell apart.
        runs: How the search was started, each time.
        pruned: What guidelines turned away.
        rejected: Candidates turned away, by the limit.
        relaxed: By what the audit widened a guideline's limit.
        stops: What the stop rule did, or None.
        times: When trials ran.
        importances: What decided each objective; empty from too few trials.
        devices: What measured.
        winners: A card for each of the front.
        notes: Why the time of the winners is not known on a target, a line each.
    """

    study: str
    storage: str
    read_at: datetime
    identity: Identity
    records: Mapping[int, Record]
    entries: Sequence[Entry]
    best: int | None
    audited: Mapping[int, str]
    certificate: Certificate | None
    ties: Sequence[tuple[int, int]]
    runs: Sequence[Run]
    pruned: Sequence[Pruned]
    rejected: Mapping[str, int]
    relaxed: Mapping[str, float]
    stops: StopAudit | None
    times: Times
    importances: Sequence[Importance]
    devices: Sequence[Device]
    winners: Sequence[Winner]
    notes: Sequence[str]

    @property
    def front(self) -> list[Entry]:
        """What is on the front, fastest first."""
        return [entry for entry in self.entries if entry.on_front]

    @property
    def baselines(self) -> dict[int, Record]:
        """The hand-designed networks, by trial."""
        return {number: record for number, record in self.records.items() if record.baseline}

    @property
    def targets(self) -> list[str]:
        """Where latency counts."""
        return list(next(iter(self.records.values())).latencies)

    @property
    def scored_by(self) -> str:
        """What candidates are compared by, beside latency, in words."""
        return SCORES[next(iter(self.records.values())).evaluation.scored_by]


def facts_of(db: Database, study: str, breakdown: Breakdown) -> Facts:
    """All of a study.

    Args:
        db: Where it is.
        study: Its name.
        breakdown: Asked once, for the networks of the front.

    Raises:
        ConfigError: There is no such study, or it has no finished trial yet.
        StoreError: The database cannot be read.
    """
    opened = load_study(db, study)
    with store_errors():
        trials = opened.get_trials(deepcopy=False)
    records = RecordStore(db, study_key(opened)).all()
    if not records:
        raise ConfigError("study", study, "must be a study with a finished trial; it has none yet")
    identity: Identity = opened.user_attrs[IDENTITY]
    entries = front_of(records)
    on_front = {entry.number: entry.record for entry in entries if entry.on_front}
    certificate = _certificate(db, identity, records)
    weights = WeightsFolder.of_study(db, study_key(opened))
    profiles, notes = breakdown(on_front, identity)
    return Facts(
        study=study,
        storage=db.shown,
        read_at=datetime.now(UTC),
        identity=identity,
        records=records,
        entries=entries,
        best=best_of(records) if on_front else None,
        audited=_audited(trials, records),
        certificate=certificate,
        ties=find_ties(records, certificate),
        runs=runs_of(opened),
        pruned=audit_guidelines(trials, records),
        rejected=_rejected(trials),
        relaxed=opened.user_attrs.get(RELAXED, {}),
        stops=audit_stops(records),
        times=times_of(trials, records),
        importances=importances_of(trials, records, opened.metric_names or []),
        devices=devices_of(db, records.values()),
        winners=_winners(db, identity, records, on_front, weights, profiles),
        notes=notes,
    )


def _certificate(
    db: Database, identity: Identity, records: Mapping[int, Record]
) -> Certificate | None:
    evaluation = next(iter(records.values())).evaluation
    return CertificateStore(db).find(
        evaluation.recipe_digest, evaluation.data, identity.get("space_digest", "")
    )


def _audited(trials: Sequence[FrozenTrial], records: Mapping[int, Record]) -> dict[int, str]:
    return {
        trial.number: str(trial.user_attrs[PRUNED])
        for trial in trials
        if trial.number in records and AUDITED in trial.user_attrs
    }


def _rejected(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """How many candidates each limit turned away, the busiest first."""
    said = (trial.user_attrs.get(REJECTED) for trial in trials)
    return dict(Counter(str(each).partition(":")[0] for each in said if each).most_common())


def _winners(
    db: Database,
    identity: Identity,
    records: Mapping[int, Record],
    front: Mapping[int, Record],
    weights: WeightsFolder,
    profiles: Profiles,
) -> list[Winner]:
    baseline = next((record for record in records.values() if record.baseline), None)
    guidelines = identity.get("guidelines", {})
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
