"""Open and check the Optuna study behind a search, so that it never mixes different questions."""

import json
import re
import traceback
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import optuna
from optuna.exceptions import (
    DuplicatedStudyError,
    ExperimentalWarning,
    StorageInternalError,
)
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from nas_sv2.database.database import Database
from nas_sv2.database.engine import one_line
from nas_sv2.errors import ConfigError, InfeasibleError, StoreError
from nas_sv2.evaluate.fitting.evaluation import data_key
from nas_sv2.evaluate.recipes.scores import facts_of
from nas_sv2.plain_data import printable
from nas_sv2.space.graph.peak_memory import unit_of
from nas_sv2.studies.findings.attributes import (
    CLAIMED,
    CONTENT,
    EVALUATOR,
    EVALUATOR_FOLDER,
    IDENTITY,
    KEY,
    KEY_OF,
    OF_STUDY,
    OF_TRIAL,
    TIMED_AND_TRAINED,
    WARM_START,
    check_attributes,
    key_of,
)
from nas_sv2.studies.storage.ownership import StudyGone, check_records, own_key

NAMES = ("space", "data", "recipe", TIMED_AND_TRAINED)
"""Parts of the identity that follow from others, the digests and contents."""
KEPT = "; its trainings are kept, and another study takes them over"

Identity = Mapping[str, Any]
_OF_ROWS = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""The errors of Optuna about a row that it would not have written."""
UNLESS_USUAL = ("train_on", EVALUATOR, "target_modules", WARM_START)
"""Parts of the identity that are left out for the usual value."""
MOST_DIFFERENCES = 3  # of a document that are named
MOST_NAMES = 8  # of studies in one line
NOT_A_NUMBER = (
    "the studies cannot be read: a row of Optuna's tables is damaged, such as a value that is "
    "not a number; `nas-sv2 db repair` finds such trials and fails them"
)
_KEY = re.compile("[0-9a-f]{32}")
_IN_WORDS = {
    "space_digest": "space_document",
    "recipe_digest": "recipe_document",
    "data_content": "data",
}
"""Parts of the identity that are digests, and the parts that say the same in words."""


def create_or_resume(
    db: Database, name: str, identity: Identity, sampler: BaseSampler
) -> optuna.Study:
    """Create the study of this name, or resume it.

    Args:
        db: The database of the study.
        name: The name of the study.
        identity: The settings that every trial depends on. `targets` names the latency
            objectives.
        sampler: The sampler that chooses the candidates.

    Raises:
        ConfigError: The study of this name has another identity.
        StoreError: The database cannot be read or written.
    """
    backend = optuna_storage(db)
    metrics = [
        facts_of(identity.get("recipe_document", {}).get("score", "accuracy")).objective,
        *(f"{name} latency (ms, {kind})" for name, kind in identity["targets"].items()),
    ]
    directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (len(metrics) - 1)
    with store_errors(), db.alone_at(f"study {name}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            study = optuna.create_study(
                storage=backend, study_name=name, sampler=sampler, directions=directions
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=backend, sampler=sampler)
            check_attributes(study.user_attrs, OF_STUDY, f"study {name}")
            stored = study.user_attrs.get(IDENTITY)
            begun = _is_begun(backend, name) or _is_claimed(study)
            if begun or study.directions != directions:
                _check_identity(name, stored, identity)
                own_key(db, backend, study)
                return study
            if stored is not None and _difference(stored, identity) is None:
                own_key(db, backend, study)
                return study
        # New, or left before it was claimed: an infeasible budget, or a process killed just here.
        study.set_metric_names(metrics)
        study.set_user_attr(IDENTITY, {**identity, KEY: uuid.uuid4().hex})
        study.set_user_attr(KEY_OF, backend.get_study_id_from_name(name))
        return study


def began_with(db: Database, name: str) -> Identity:
    """Return the identity of a study; empty if it does not exist or has no trial.

    Raises:
        StoreError: The database cannot be read.
    """
    backend = optuna_storage(db)
    with store_errors():
        try:
            study = optuna.load_study(study_name=name, storage=backend)
        except KeyError:
            return {}
        check_attributes(study.user_attrs, OF_STUDY, f"study {name}")
        identity: Identity = study.user_attrs.get(IDENTITY, {})
        return identity if _is_begun(backend, name) else {}


def _is_begun(backend: RDBStorage, name: str) -> bool:
    """Return whether the study has a trial, without reading all trials, which takes seconds."""
    try:
        study_id = backend.get_study_id_from_name(name)
        backend.get_trial_id_from_study_id_trial_number(study_id, 0)
    except KeyError:
        return False
    return True


def claim(study: optuna.Study, key: str, db: Database) -> None:
    """Fix the identity of a study; until then, and without a trial, another may replace it.

    Args:
        study: The study from `create_or_resume`.
        key: Its key at that time.
        db: The database of the study.

    Raises:
        ConfigError: Another search has begun under its name since.
        StoreError: The database cannot be read or written.
    """
    name = study.study_name
    with store_errors(), db.alone_at(f"study {name}"):
        if study_key(study) != key:
            allowed = "must be another name: another search has just begun under this one"
            raise ConfigError("study", name, allowed)
        if not _is_claimed(study):
            study.set_user_attr(CLAIMED, key)


@contextmanager
def discarding_unclaimed(study: optuna.Study, db: Database) -> Iterator[None]:
    """Delete the study if what is done here is refused before a search has claimed it."""
    key = study_key(study)
    try:
        yield
    except (ConfigError, InfeasibleError):
        name, backend = study.study_name, optuna_storage(db)
        with store_errors(), db.alone_at(f"study {name}"):
            begun = _is_begun(backend, name) or _is_claimed(study)
            if study_key(study) == key and not begun:
                optuna.delete_study(study_name=name, storage=backend)
        raise


def _is_claimed(study: optuna.Study) -> bool:
    """Return whether `claim` has fixed the present identity of the study."""
    attributes = study.user_attrs
    return CLAIMED in attributes and attributes[CLAIMED] == attributes[IDENTITY][KEY]


def study_key(study: optuna.Study) -> str:
    """Return the key of a study's records; a later study of its name has another.

    Raises:
        StoreError: It is not 32 hexadecimal digits, so that it must not become a path.
    """
    return checked_key(study.user_attrs[IDENTITY][KEY])


def width_factor_of(identity: Identity) -> float:
    """Return the share of its widths at which a study's recipe trains a candidate."""
    factor: float = identity.get("recipe_document", {}).get("width_factor", 1.0)
    return factor


def is_key(text: object) -> bool:
    """Return whether this can be the key of a study: 32 hexadecimal digits."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def checked_key(key: str) -> str:
    """Return the stored key of a study.

    Raises:
        StoreError: It is not 32 hexadecimal digits, so that it must not become a path.
    """
    if not is_key(key):
        raise StoreError(f"the key of a study must be 32 hexadecimal digits; got {key!r:.60}")
    return key


def load_study(db: Database, name: str) -> optuna.Study:
    """Load an existing study of ours, whose attributes can be read.

    Raises:
        ConfigError: The database does not exist, or has no such study.
        StoreError: An attribute of the study has another type; names it.
    """
    study = find_study(db, name)
    with store_errors():
        check_attributes(study.user_attrs, OF_STUDY, f"study {name}")
    return study


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Return all trials, whose attributes can be read.

    Raises:
        StoreError: The database cannot be read, or an attribute has another type; names it.
    """
    with store_errors():
        trials = study.get_trials(deepcopy=False)
    for trial in trials:
        what = f"trial {trial.number} of study {study.study_name}"
        check_attributes(trial.user_attrs, OF_TRIAL, what)
    return trials


def find_study(
    db: Database, name: str, field: str = "study", asking: str | None = None
) -> optuna.Study:
    """Load an existing study of ours, also one with damaged attributes.

    Args:
        db: The database.
        name: The name of the study.
        field: The parameter that names it, for the error if there is none.
        asking: A study that the error does not offer: it was made for this question.

    Raises:
        ConfigError: The database does not exist, or has no such study.
        StoreError: The key of the study is not one.
    """
    db.require()
    backend = optuna_storage(db)
    with store_errors():
        try:
            study = optuna.load_study(study_name=name, storage=backend)
        except KeyError:
            names = map(str, optuna.get_all_study_names(backend))  # a damaged one may be bytes
            others = [each for each in names if each != asking]
            known = ", ".join(_nearest(name, others)) or "there is none yet"
            allowed = f"must be a study in {db.shown}: {known}"
            raise ConfigError(field, name, allowed) from None
        if (key := key_of(study.user_attrs)) is None:
            raise ConfigError(field, name, "must be a study that `nas-sv2 search` made")
        checked_key(key)
        own_key(db, backend, study)
        check_records(db, study)
        return study


def _nearest(name: str, names: list[str]) -> list[str]:
    """Return all names if they are few, else those most like `name`, and how many there are."""
    if len(names) <= MOST_NAMES:
        return sorted(names)
    close = get_close_matches(name, names, MOST_NAMES, cutoff=0.3)
    return [*close, f"{len(names):,} in all, see nas-sv2 study list"]


def optuna_storage(db: Database) -> RDBStorage:
    """Return Optuna's storage in `db`, which uses the engine of the handle.

    Raises:
        ConfigError: The database cannot be opened.
        StoreError: An incompatible version of Optuna made the database.
    """
    return db.once(_make_storage)


def _make_storage(db: Database) -> RDBStorage:
    # Optuna formats the URL, so that a brace, as in a password, must be doubled.
    address = db.address.render_as_string(hide_password=False)
    address = address.replace("{", "{{").replace("}", "}}")
    try:
        with store_errors():
            return db.adopt(
                lambda options: RDBStorage(address, engine_kwargs=options), "tables of Optuna"
            )
    except RuntimeError as error:  # Optuna raises it if its tables have another version
        raise StoreError(f"the studies cannot be read or written: {error}") from error


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the errors of the database and of Optuna into `StoreError` or `StudyGone`.

    Optuna asserts of its rows what only it would write; another may have written others.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise store_error(error) from error
    except _OF_ROWS as error:
        if isinstance(error, KeyError) and _is_of_storage(error):
            raise StudyGone from error
        if not any(map(_is_storage, _modules(error))):
            raise
        if isinstance(error, AssertionError):
            raise StoreError(NOT_A_NUMBER) from error
        reason = printable(f"{type(error).__name__}: {error}")
        raise StoreError(f"a row of Optuna's tables cannot be read: {reason}") from error


def store_error(error: Exception) -> StoreError:
    """Return the error of the database or of Optuna in the words of the database."""
    # Optuna's own message only guesses the cause.
    found = error.__cause__ if isinstance(error, StorageInternalError) else error
    said = one_line(found) if isinstance(found, SQLAlchemyError) else error
    return StoreError(f"the studies cannot be read or written: {said}")


def _is_of_storage(error: KeyError) -> bool:
    """Return whether Optuna's storage raised the error, as it does after a deletion."""
    return _is_storage(_modules(error)[-1])


def _is_storage(module: str) -> bool:
    return module.startswith("optuna.storages")


def _modules(error: BaseException) -> list[str]:
    """Return the modules that an error came through, the one that raised it last."""
    frames = traceback.walk_tb(error.__traceback__)
    return [str(frame.f_globals.get("__name__")) for frame, _ in frames]


def _check_identity(name: str, stored: Identity | None, wanted: Identity) -> None:
    if stored is None:
        raise ConfigError("study", name, "must be another name: this study is not nas-sv2's")
    if (difference := _difference(stored, wanted)) is not None:
        raise ConfigError(
            "study", name, f"must be another name: this one was begun with {difference}{KEPT}"
        )


def _difference(stored: Identity, wanted: Identity) -> str | None:
    """Describe the first part in which two identities differ; None if they are equal."""
    keys = [*wanted, *(name for name in UNLESS_USUAL if name not in wanted)]
    # The recipe sets the side of the images, so that their content follows from it. Other images
    # can change the space as well, which follows from them if it was not named.
    moved = stored.get("data") != wanted.get("data")
    rank = {"recipe_digest": 0, CONTENT: 1} if moved else {CONTENT: 3}
    for key in sorted(keys, key=lambda key: rank.get(key, 2)):
        if key in NAMES or key in _IN_WORDS.values():
            continue
        both = stored.get(key), wanted.get(key)
        theirs, ours = (_without_place(key, each) for each in both)
        if _plain(theirs) != _plain(ours) and key == EVALUATOR:
            return f"evaluator {_evaluator(theirs)}, not {_evaluator(ours)}"
        if _plain(theirs) != _plain(ours):
            in_words = _IN_WORDS.get(key, key)
            said = stored.get(in_words), wanted.get(in_words)
            if key == "space_digest" and (inputs := _inputs(*said)):
                return inputs
            if key == "budget":
                before, now = (", ".join(limits_of(each or {})) or "none" for each in said)
                if before != now:
                    return f"budget {before}, not {now}"
            return f"{in_words.removesuffix('_document')} {_in_words(*said)}"
    return None


def limits_of(budget: Mapping[str, Any]) -> list[str]:
    """Return the limits of a stored budget as users type them."""
    limits = [f"{budget['flops'] / 1e6:.12g}M"] if budget.get("flops") else []
    limits += [f"{budget['params'] / 1e6:.12g}Mparams"] if budget.get("params") else []
    if memory := budget.get("memory_bytes"):
        unit, unit_bytes = unit_of(min(max(memory, 1024), 2**20))  # as limits are written
        limits.append(f"{memory / unit_bytes:.9f}".rstrip("0").rstrip(".") + unit)
    return limits + [f"{name}={ms:.12g}ms" for name, ms in budget.get("latency_ms", {}).items()]


def _inputs(theirs: Any, ours: Any) -> str:
    """Name the inputs of two spaces, `input 96x96x3, not 64x64x3`; empty if they are equal."""
    if not isinstance(theirs, Mapping) or not isinstance(ours, Mapping):
        return ""
    before, now = (
        f"{_as_typed(each.get('resolution'))}x{each.get('channels')}" for each in (theirs, ours)
    )
    return "" if before == now else f"input {before}, not {now}"


def _as_typed(resolution: Any) -> str:
    """Write the resolution of a stored space, as `96x128`."""
    sides = resolution if isinstance(resolution, list | tuple) else (resolution, resolution)
    return "x".join(map(str, sides))


def _in_words(theirs: Any, ours: Any) -> str:
    """Say what is different: `epochs 3, not 5`."""
    if theirs is None and not isinstance(ours, str):  # older versions kept the digest alone
        return "of other content"
    before, now = _leaves(theirs), _leaves(ours)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    changed = [name for name in changed if name != "name"]
    said = [
        f"{name} {before.get(name, 'none')}, not {now.get(name, 'none')}".strip()
        for name in changed[:MOST_DIFFERENCES]
    ]
    more = len(changed) - len(said)
    if not said:
        return f"{_plain(theirs)}, whose content has changed since"
    return "; ".join(said) + (f"; and {more} more" if more else "")


def _evaluator(identity: Mapping[str, Any] | None) -> str:
    """Name an evaluator; the usual one has no identity."""
    return " ".join(
        f"{name} {part}" for name, part in (identity or {"recipe": ""}).items()
    ).strip()


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    """List the values within a document by their place, such as `stages.0.width`."""
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        parts = list(enumerate(value))
    else:
        return {name: "none" if value is None else _plain(value)}
    found: dict[str, str] = {}
    for key, part in parts:
        found |= _leaves(part, f"{name}.{key}" if name else str(key))
    return found


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _without_place(key: str, value: Any) -> Any:
    """Return the value without the place of data or an evaluator, which older versions stored."""
    if key == CONTENT and isinstance(value, str):
        return data_key(value)
    if key == EVALUATOR and isinstance(value, Mapping):
        return {name: part for name, part in value.items() if name != EVALUATOR_FOLDER} or None
    return value
