"""Find networks and trained weights by name: a reference, a file, or a trial of a study."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nas_sv2.errors import ConfigError
from nas_sv2.resolution import resolution_of
from nas_sv2.space.families.published import full_name, published_network
from nas_sv2.space.model_files.model_file import RUNTIMES, load_model_file
from nas_sv2.space.networks.lowering import Classifier, Network, load_network, lower
from nas_sv2.space.onnx_models.model import ENDING, Shapes, load_model
from nas_sv2.studies.findings.attributes import IDENTITY
from nas_sv2.studies.findings.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nas_sv2.database.database import Database
    from nas_sv2.space.runtimes.weights import Weights


WEIGHTS_ENDING = ".safetensors"
FILE_ENDINGS = (".yaml", ".yml", ".json")
MODEL_ENDINGS = (
    ".bin", ".engine", ".h5", ".keras", ".mnn", ".onnx", ".ort", ".pb", ".pt", ".pt2", ".pth",
    ".param", ".py", ".safetensors", ".tflite", ".toml", ".xml",
)  # fmt: skip
"""Endings by which a model is known that is not there."""


Kind = TypeVar("Kind", bound=Network, covariant=True)


@dataclass(frozen=True, slots=True)
class Named(Generic[Kind]):
    """A network and the user's name for it."""

    name: str
    network: Kind


def find_networks(
    texts: "Sequence[str]", db: "Database", shapes: Shapes | None = None
) -> list[Named[Network]]:
    """Return the networks that `texts` name, ONNX files too: what can be run can be named.

    Args:
        texts: Reference names, files, or `STUDY:NUMBER`.
        db: The database of the studies.
        shapes: Shapes of the inputs of the ONNX files. The only one, without a name, is also that
            of the other networks.

    Raises:
        ConfigError: A text names no network, or a network cannot have the shape.
    """
    files = [text for text in texts if text.lower().endswith(ENDING)]
    others = [text for text in texts if text.lower().endswith(tuple(RUNTIMES))]
    for name, shape in ({} if files else shapes or {}).items():
        if name:
            allowed = "names an input of an ONNX file, and none is given"
            raise ConfigError("input", f"{name}={_typed(shape)}", allowed)
    if others and shapes:
        allowed = f"must be left out beside {others[0]}, which holds its sizes"
        raise ConfigError("input", _typed(next(iter(shapes.values()))), allowed)

    def found(text: str) -> Named[Network]:
        if text in files:
            return Named(text, load_model(text, shapes))
        if text in others:
            return Named(text, load_model_file(text))
        return _with_input(find_network(text, db), (shapes or {}).get(""), bool(files))

    return [found(text) for text in texts]


def _with_input(
    named: Named[Classifier], shape: "Sequence[int] | None", any_batch: bool
) -> Named[Classifier]:
    """Return a network with another input, which its name tells.

    The batch of a file is held against the target's, and counts for all networks beside it.
    """
    if shape is None:
        return named
    if len(shape) != 4 or (shape[0] != 1 and not any_batch):
        allowed = f"must be 1xCHANNELSxHEIGHTxWIDTH for {named.name}, as 1x3x96x128"
        raise ConfigError("input", _typed(shape), allowed)
    _, channels, *size = shape
    try:
        formed = replace(named.network, channels=channels, resolution=resolution_of(*size))
        lower(formed)
    except ConfigError as error:
        allowed = f"must fit {named.name}, whose {error.field} {error.sentence}"
        raise ConfigError("input", _typed(shape), allowed) from None
    return Named(f"{named.name} at {_typed(shape[1:])}", formed)


def _typed(shape: "Sequence[int]") -> str:
    return "x".join(map(str, shape))


def named(network: Classifier | str, db: "Database") -> Named[Classifier]:
    """Return a network by the beginning of its digest, or the one that a text names.

    Raises:
        ConfigError: As `find_network`.
    """
    if isinstance(network, str):
        return find_network(network, db)
    return Named(network.digest[:8], network)


def find_network(text: str, db: "Database") -> Named[Classifier]:
    """Return the network that `text` names, one that can be trained.

    Args:
        text: A reference name, a width of ShuffleNet V2 such as `0.5x`, a YAML or JSON file, or
            `STUDY:NUMBER`.
        db: The database of the studies.

    Raises:
        ConfigError: The text names no network.
    """
    if text.lower().endswith(FILE_ENDINGS):
        return Named(text, load_network(Path(text)))
    trial = trial_named(text)
    if trial is not None:
        return Named(text, record_of(db, *trial).architecture)
    try:
        return Named(full_name(text), published_network(full_name(text)))
    except ConfigError as error:
        path = Path(text)
        if path.suffix.lower() in MODEL_ENDINGS or os.sep in text or os.path.lexists(path):
            raise _no_description(path) from None
        if error.field != "architecture":
            raise
        files = "or your own file (.onnx for measure, network cost and network profile)"
        raise ConfigError(error.field, text, f"{error.sentence}, {files}") from None


def _no_description(path: Path) -> ConfigError:
    """Say which files are taken, and which of a package's files is the one."""
    sentence = (
        "must be a reference name, STUDY:NUMBER, or a description of a network that ends with "
        f"{', '.join(FILE_ENDINGS)}; ONNX files are for measure, network cost and network "
        "profile, .tflite and .param files for measure; other models and folders are not taken"
    )
    described = (path if os.path.isdir(path) else path.parent) / "architecture.yaml"
    if os.path.isfile(described):
        sentence += f", but {described} is one"
    return ConfigError("architecture", str(path), sentence)


def trial_named(text: str) -> tuple[str, int] | None:
    """Split `STUDY:NUMBER` into study and number; None if `text` has another form."""
    match = re.fullmatch(r"(.+):(\d{1,18})", text)
    return None if match is None else (match[1], int(match[2]))


def records_of(db: "Database", study: str) -> dict[int, Record]:
    """Return every record of a study by its trial.

    Raises:
        ConfigError: The study does not exist.
        StoreError: The study cannot be read.
    """
    # Imported here: a reference or a file is found without Optuna and a database.
    from nas_sv2.studies.storage.record_store import RecordStore
    from nas_sv2.studies.storage.study import load_study, study_key

    key = study_key(load_study(db, study))
    return RecordStore(db, key).all()


def record_of(db: "Database", study: str, number: int) -> Record:
    """Return the record of a trial.

    Raises:
        ConfigError: The study has no finished trial of this number.
    """
    records = records_of(db, study)
    if number not in records:
        known = ", ".join(map(str, records)) or "none yet"
        raise ConfigError("trial", number, f"must be a finished trial of {study}: {known}")
    return records[number]


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Weights and their origin.

    Attributes:
        weights: The weights, by name.
        source: The file or trial, as the user named it.
        recipe: The name of the recipe; None if unknown.
        seed: The seed of the training; None if unknown.
        data: The data of the training; None if unknown.
        width_factor: The share of the network's widths at which it was trained.
    """

    weights: "Weights"
    source: str
    recipe: str | None = None
    seed: int | None = None
    data: str | None = None
    width_factor: float = 1.0

    def describe(self) -> str:
        """Describe the weights in one line."""
        if self.recipe is None:
            return f"weights of {self.source}, of which recipe and seed are not known"
        return f"weights of {self.source}: recipe {self.recipe}, seed {self.seed}, {self.data}"


def weights_named(text: str, db: "Database") -> KeptWeights:
    """Load the weights that `text` names.

    Args:
        text: `FILE.safetensors` or `STUDY:NUMBER`.
        db: The database of the studies.

    Raises:
        ConfigError: The text names no weights, or the trial's weights were not kept.
        StoreError: The database or the weights cannot be read.
    """
    if text.endswith(WEIGHTS_ENDING):
        return _of_file(text)
    trial = trial_named(text)
    if trial is None:
        raise ConfigError(
            "weights", text, "must name a file FILE.safetensors or a trial STUDY:NUMBER"
        )
    found = weights_of_trial(*trial, db)
    if found is None:
        allowed = (
            "must be a trial whose weights were kept, as those near the front are, or export it"
        )
        raise ConfigError("weights", text, allowed)
    return found


def weights_of_trial(study: str, number: int, db: "Database") -> KeptWeights | None:
    """Load the weights of a trial, or return None if they were not kept.

    Those of a detector are of other parts than the network's, and are not taken for them.

    Raises:
        ConfigError: The trial does not exist.
        StoreError: The database or the weights cannot be read.
    """
    from nas_sv2.studies.storage.study import load_study, study_key, width_factor_of
    from nas_sv2.studies.storage.weights_folder import WeightsFolder

    record = record_of(db, study, number)
    opened = load_study(db, study)
    weights = WeightsFolder.of_study(db, study_key(opened)).find(record.architecture.digest)
    if weights is None or record.evaluation.is_detector:
        return None
    trained = record.evaluation
    factor = width_factor_of(opened.user_attrs[IDENTITY])
    source = f"{study}:{number}"
    return KeptWeights(weights, source, trained.recipe, trained.seed, trained.data, factor)


def _of_file(text: str) -> KeptWeights:
    from nas_sv2.space.runtimes.weights import read_weights

    try:
        return KeptWeights(read_weights(Path(text)), text)
    except OSError as error:
        raise ConfigError(
            "weights", text, f"must be a readable safetensors file ({error})"
        ) from None
