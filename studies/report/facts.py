"""The facts of a report: the study's own, its devices, the cards of its networks, importances."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial
from sqlalchemy import or_, select

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.latency.breakdown.profiled import Profile
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.measurement_check import read_measurement
from nas_sv2.latency.measurements.store import MeasurementRow
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.report.network_card import (
    NetworkCard,
    parts_of,
    reuse_png,
    scores_of,
    wasted_by,
)
from nas_sv2.studies.storage.facts import StudyFacts, read_study
from nas_sv2.studies.storage.study import Identity, width_factor_of
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Floats = NDArray[np.float64]
Profiles = Mapping[int, Mapping[str, Profile]]
"""The profiles of networks, by trial and target."""
Breakdown = Callable[[Mapping[int, Record], Identity], tuple[Profiles, Sequence[str]]]
"""Gives the profiles of networks, and the reason for each missing target, a line each."""


FEWEST: Final = 30
"""The fewest finished trials.

The spaces have 23 parameters; fewer trials hardly show two values of each."""
MOST: Final = 400
"""The most trials that are used, spread evenly over the study.

A forest's cost grows faster than the number of trials, and its answer hardly changes."""
LEAST_FORETOLD: Final = 0.2
"""The share of the variance of unseen trials that the forest must predict.

Of 25 studies of 30 trials with random scores, one reached it."""
TREES: Final = 32


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The device behind a target's latencies.

    Attributes:
        target: The name of the target.
        provenance: The origin of its latencies.
        described: Processor, runtime, threads and batch, as every latency names them.
        key: Digest of the fingerprint; None if no measurement is stored.
        facts: The facts of the fingerprint.
    """

    target: str
    provenance: str
    described: str
    key: str | None = None
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Importance:
    """The importance of the parameters for one objective.

    Attributes:
        objective: The objective in words.
        trials: Number of trials used.
        foretold: Share of the variance that trees predict of the trials they were not fitted to
            (R² out of bag); below 0 they do worse than the mean.
        shares: Share of the variance that each parameter explains, the largest first; empty if
            `foretold` is too low.
    """

    objective: str
    trials: int
    foretold: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class ReportFacts:
    """The facts of a study and the further content of its report.

    Attributes:
        study: The facts of the study.
        importances: The importances of parameters, by objective; empty for too few trials.
        devices: The devices behind the latencies.
        winners: A card for each network of the front.
        notes: The reasons for missing profiles and maps of feature reuse, a line each.
    """

    study: StudyFacts
    importances: Sequence[Importance]
    devices: Sequence[DeviceFacts]
    winners: Sequence[NetworkCard]
    notes: Sequence[str]


def read_report(
    db: Database, name: str, breakdown: Breakdown, *, reuse_maps: bool = True
) -> ReportFacts:
    """Read the facts of a study's report.

    Args:
        db: The database of the study.
        name: The name of the study.
        breakdown: Gives profiles; called once, with the networks of the front.
        reuse_maps: Whether maps of feature reuse are drawn, which takes half a second for each.

    Raises:
        ConfigError: The study does not exist, or has no finished trial yet.
        StoreError: The database cannot be read.
    """
    study = read_study(db, name)
    if not study.records:
        raise ConfigError("study", name, "must be a study with a finished trial; it has none yet")
    on_front = {entry.number: entry.record for entry in study.front.members}
    profiles, unpriced = breakdown(on_front, study.identity)
    is_drawn = reuse_maps and not study.detector
    maps, undrawn = _reuse_maps(db, study, on_front) if is_drawn else ({}, [])
    return ReportFacts(
        study,
        importances_of(study.trials, study.records, study.metrics),
        devices_of(db, study.records.values()),
        _winners(db, study, on_front, profiles, maps),
        [*(f"By operator: {reason}" for reason in unpriced), *undrawn],
    )


def _reuse_maps(
    db: Database, study: StudyFacts, front: Mapping[int, Record]
) -> tuple[dict[int, str], list[str]]:
    """Draw the maps of feature reuse by trial; also give the reasons for missing ones."""
    folder, factor = WeightsFolder.of_study(db, study.key), width_factor_of(study.identity)
    maps, undrawn = {}, []
    for number, record in front.items():
        digest = record.architecture.digest
        try:
            weights = folder.find(digest)
            if weights is not None:
                maps[number] = reuse_png(record, weights, factor)
            elif folder.file(digest).exists():  # others were not kept, and have no map
                undrawn.append(f"Feature reuse of trial {number}: {folder.why_none(digest)}")
        except (StoreError, ConfigError) as error:  # unreadable, or of another network
            undrawn.append(f"Feature reuse of trial {number}: {error}")
    return maps, undrawn


def _winners(
    db: Database,
    study: StudyFacts,
    front: Mapping[int, Record],
    profiles: Profiles,
    maps: Mapping[int, str],
) -> list[NetworkCard]:
    baseline = next(iter(study.baselines.values()), None)
    guidelines = study.identity.get("guidelines", {})
    own = _own_guidelines(db, guidelines.get("measured", {}))
    limits = {} if "measured" in guidelines else guidelines
    found = []
    for number, record in front.items():
        trained = record.evaluation
        found.append(
            NetworkCard(
                number,
                record,
                parts_of(record.architecture),
                scores_of(record, None if record is baseline else baseline, limits),
                wasted_by(record, own),
                profiles.get(number, {}),
                maps.get(number),
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
    for text in _documents(db, record.architecture.digest, latency):
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
            )
    return plain


def _documents(db: Database, digest: str, latency: Latency) -> list[str]:
    """Return the measurements of a network, and those of the time of its latency.

    A detector is measured as a file, whose digest no record has.
    """
    query = (
        select(MeasurementRow.document)
        .where(
            or_(
                MeasurementRow.architecture == digest,
                MeasurementRow.measured_at == latency.measured_at,
            )
        )
        .order_by(MeasurementRow.id.desc())
    )
    with db.session("measurements cannot be read") as session:
        if not db.has_table(MeasurementRow.__tablename__):
            return []
        return list(session.scalars(query))


def importances_of(
    trials: Sequence[FrozenTrial], records: Mapping[int, Record], objectives: Sequence[str]
) -> list[Importance]:
    """Find the importances for each objective; empty for fewer than `FEWEST` finished trials.

    The method is functional ANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) as in Optuna. A
    forest is fitted to the finished trials. Each parameter gets the share of the forest's variance
    that it explains alone. With few trials a forest also explains noise, so the shares are shown
    only if a forest predicts trials that it has not seen.

    Args:
        trials: The trials of the study.
        records: The records by trial; rejected trials have none. Trainings that were stopped
            early are left out, because their scores are not comparable.
        objectives: The names of the objectives, in the order of `Record.objectives`.
    """
    usable = [
        trial
        for trial in trials
        if trial.number in records and records[trial.number].evaluation.stopped is None
    ]
    if len(usable) < FEWEST:
        return []
    kept = [usable[i] for i in np.linspace(0, len(usable) - 1, min(len(usable), MOST)).astype(int)]
    study = optuna.create_study(directions=["minimize"] * len(objectives))
    for trial in kept:
        values = list(records[trial.number].objectives)
        study.add_trial(
            optuna.create_trial(
                params=trial.params, distributions=trial.distributions, values=values
            )
        )
    return [_importance(study, index, name) for index, name in enumerate(objectives)]


def _importance(study: optuna.Study, index: int, objective: str) -> Importance:
    trials = study.get_trials(deepcopy=False)
    values = np.array([trial.values[index] for trial in trials])
    foretold = _foretold(_columns(trials), values)
    if foretold < LEAST_FORETOLD:
        return Importance(objective, len(trials), foretold, {})
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shares = get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0),
            target=lambda trial: float(trial.values[index]),
        )
    return Importance(objective, len(trials), foretold, shares)


def _foretold(columns: Floats, values: Floats) -> float:
    """Return R² of a forest on the trials that its trees did not see; 0 for equal values."""
    if np.ptp(values) == 0:
        return 0.0
    from sklearn.ensemble import RandomForestRegressor  # seconds to import

    forest = RandomForestRegressor(n_estimators=4 * TREES, oob_score=True, random_state=0)
    return float(forest.fit(columns, values).oob_score_)


def _columns(trials: Sequence[FrozenTrial]) -> Floats:
    """Return the parameters as numbers `(trials, columns)`, with a column for each category."""
    distributions = trials[0].distributions
    columns = []
    for name, distribution in distributions.items():
        values = [trial.params[name] for trial in trials]
        if isinstance(distribution, CategoricalDistribution):
            columns += [[value == choice for value in values] for choice in distribution.choices]
        else:
            columns.append(values)
    return np.array(columns, dtype=float).T
