"""The names of all user attributes of studies and trials: who writes each, and what it holds.

Optuna keeps attributes as JSON by name. A name in this file is part of the format of a database:
it is never changed, or old studies cannot be read. Who can write to the database can write any
value, so that `check_attributes` holds each to its type before it is used.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from nas_sv2.documents import Share
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.fitting.evaluation import DETECTOR
from nas_sv2.plain_data import check_bounds, printable
from nas_sv2.studies.findings.timed_and_trained import TimedAndTrained

# Of a study, written when it is begun (`storage/study.py`)
IDENTITY = "nas_sv2"
"""What all trials of the study have in common: a mapping."""
KEY = "key"
"""Within the identity: what the records are kept under."""
CONTENT = "data_content"
"""Within the identity: `SPEC@KEY` of the data. The key, of the content, is what counts."""
EVALUATOR, EVALUATOR_FOLDER = "evaluator", "folder"
"""Within the identity: kind and content of the evaluator, if the recipe does not say all; and
within that its folder, which older versions kept."""
WARM_START = "warm_start"
"""Within the identity: the name of the study that the search was begun from, if there is one."""
TIMED_AND_TRAINED = "timed_and_trained"
"""Within the identity: the forms that are timed and trained; they follow from its other parts."""
REPLAY_OF = "replay_of"
"""Within the identity: name and key of the study that was replayed on another target."""
KEY_OF = "key_of"
"""The number by which Optuna's storage knows the study that the key belongs to. A copy of the
study has this attribute too, but another number."""
CLAIMED = "claimed"
"""The key under which a search is about to ask the first trial."""

# Of a study, written by a search
THREADS = "training_threads"
"""The CPU threads of its trainings, whose last digits depend on them."""
REFERENCE_MS = "reference_ms"
"""The latency of the reference network on each target, by its name, when the study was begun."""
FIRST_MS = "first_ms"
"""The latencies of networks that were timed before the first candidate, by target and digest."""
BEGUN_FROM = "begun_from"
"""The study that it was begun from, as it was then (`estimates/other_study.py`)."""
RELAXED = "relaxed_guidelines"
"""The factors by which the audit has widened limits of the guidelines, by guideline."""
RUN = "run of "
"""How the names begin that hold one start of a search (`storage/runs.py`)."""
EVALUATOR_PLACE = "supernet folder"
"""The folder in which the evaluator was found last, if it lies in one."""
DATA_PLACE = "data place"
"""Where the data were found last; not there if they never moved."""

# Of a study, written after the search
CONFIRMATIONS = "confirmations"
"""A list of confirmations, the newest last."""
TEST_ACCURACY = "held out: "
"""How names begin that hold an accuracy of the test split (`storage/confirmation_store.py`)."""

# Of a trial, written by the loop
ARCHITECTURE = "architecture"
"""The digest of its network."""
BASELINE = "baseline"
"""The name of the hand-designed network that it is, or None."""
PRUNED = "pruned_by"
"""The guideline that turned it away."""
AUDITED = "audited"
"""How many times each limit a pruned candidate had that went on for the audit."""
FORESEEN = "foreseen_score"
"""A predicted first value: the stop rule ended the training before its end."""
DUPLICATE = "duplicate_of"
"""The number of the trial that had the same network before."""
REJECTED = "rejected_by"
"""The limit that it broke, in words."""
ERROR = "error"
"""The reason for which it failed, in words."""
GIVEN_UP = "the network that trial"
"""How the error begins of a trial whose network was another worker's."""

# Of a trial, written by workers that share a study
WORKER = "worker"
"""The process that runs it (`process_name`)."""
RETRY_OF = "retry_of"
"""The number of the trial whose candidate is asked again."""
WHY = "why"
"""The reason for which it is asked again, in words."""
DEATHS = "deaths"
"""The number of workers that died or stood still at this candidate."""

# Of a trial, written by a replay
REPLAYED, NOT_REPLAYED = "replayed", "not_replayed"
"""What a trial was in the first study, or why it has no figures here."""

Figures = dict[str, float]
Count = Annotated[int, Meta(ge=0)]


class _Budget(msgspec.Struct):
    """A budget of an identity."""

    flops: float | None = None
    params: float | None = None
    latency_ms: dict[str, Annotated[float, Meta(gt=0)]] = {}
    tolerance: Share = 0.0
    memory_bytes: Annotated[float, Meta(gt=0)] | UnsetType = UNSET
    runtimes: tuple[str, ...] | UnsetType = UNSET


class _Replayed(msgspec.Struct):
    """The study that a replay copies."""

    study: str
    key: str


class _Identity(msgspec.Struct):
    """The fields of an identity; older versions kept less."""

    key: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    targets: Annotated[dict[str, str], Meta(min_length=1)]
    budget: _Budget | UnsetType = UNSET
    guidelines: dict[str, Any] | UnsetType = UNSET
    space: str | UnsetType = UNSET
    space_digest: str | UnsetType = UNSET
    space_document: dict[str, Any] | UnsetType = UNSET
    data: str | UnsetType = UNSET
    data_content: str | UnsetType = UNSET
    skip_unreadable: bool | UnsetType = UNSET
    recipe: str | UnsetType = UNSET
    recipe_digest: str | UnsetType = UNSET
    recipe_document: dict[str, Any] | UnsetType = UNSET
    seed: Count | UnsetType = UNSET
    latency: str | UnsetType = UNSET
    train_on: str | UnsetType = UNSET
    target_modules: dict[str, str] | UnsetType = UNSET
    evaluator: dict[str, str] | UnsetType = UNSET
    warm_start: str | UnsetType = UNSET
    replay_of: _Replayed | UnsetType = UNSET
    timed_and_trained: TimedAndTrained | UnsetType = UNSET


OF_STUDY: Mapping[str, Any] = {
    IDENTITY: _Identity,
    KEY_OF: int | None,
    CLAIMED: str,
    THREADS: int | None,
    FIRST_MS: dict[str, dict[str, Annotated[float, Meta(gt=0)]]],
    BEGUN_FROM: dict[str, Any],
    REFERENCE_MS: dict[str, Annotated[float, Meta(gt=0)]],
    RELAXED: Figures,
    EVALUATOR_PLACE: str | None,
    DATA_PLACE: str,
    CONFIRMATIONS: list[dict[str, Any]],
}
OF_TRIAL: Mapping[str, Any] = {
    ARCHITECTURE: str,
    BASELINE: str | None,
    PRUNED: str,
    AUDITED: Figures,
    FORESEEN: float,
    DUPLICATE: Count,
    REJECTED: str,
    ERROR: str,
    WORKER: str | None,
    RETRY_OF: Count,
    WHY: str,
    DEATHS: Count,
    REPLAYED: str,
    NOT_REPLAYED: str,
}


def detector_in(identity: Mapping[str, Any]) -> str | None:
    """Return the detector of a study, as `ssdlite 96x128`; None if it searched classifiers."""
    found: str | None = identity.get(EVALUATOR, {}).get(DETECTOR)
    return found


def check_classifiers(identity: Mapping[str, Any], field: str, study: str) -> None:
    """Refuse a study of detectors, where only classifiers make sense.

    Raises:
        ConfigError: It is one; names `field`.
    """
    if (detector := detector_in(identity)) is not None:
        raise ConfigError(field, study, f"must be a study of classifiers, not of {detector}")


def key_of(attributes: Mapping[str, Any]) -> Any:
    """Return the stored key of a study of ours, which may be of any type; None of another."""
    identity = attributes.get(IDENTITY)
    return identity.get(KEY) if isinstance(identity, Mapping) else None


def check_attributes(attributes: Mapping[str, Any], kinds: Mapping[str, Any], what: str) -> None:
    """Hold the attributes of a study or a trial to their types.

    Raises:
        StoreError: One has another type; names `what` and the attribute.
    """
    for name, kind in kinds.items():
        if name in attributes:
            try:
                check_bounds(attributes[name], finite=True)
                msgspec.convert(attributes[name], kind)
            except ValueError as error:
                reason = printable(str(error))
                raise StoreError(f"{what}: stored {name} cannot be read: {reason}") from error


TRAINED = ("space", "data", CONTENT, "skip_unreadable", "recipe_document", "seed")
"""The parts of an identity without which no training of the study can be repeated."""


def whole_identity(
    attributes: Mapping[str, Any], what: str, needed: Iterable[str]
) -> Mapping[str, Any]:
    """Return the identity of a study with the parts that a command needs.

    Raises:
        StoreError: One is missing, as in studies of old versions; names it.
    """
    identity: Mapping[str, Any] = attributes[IDENTITY]
    if missing := sorted(set(needed) - identity.keys()):
        raise StoreError(f"{what}: stored {IDENTITY} lacks {', '.join(missing)}")
    return identity


def classifiers_identity(
    attributes: Mapping[str, Any], study: str, needed: Iterable[str]
) -> Mapping[str, Any]:
    """Return the whole identity of a study of classifiers; see `whole_identity`.

    Raises:
        ConfigError: It is a study of detectors.
        StoreError: A part is missing.
    """
    check_classifiers(attributes[IDENTITY], "study", study)
    return whole_identity(attributes, f"study {study}", needed)
