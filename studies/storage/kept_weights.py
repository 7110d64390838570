"""Find trained weights by the user's name for them: a file, or a trial of a study."""

from dataclasses import dataclass
from pathlib import Path

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.space.runtimes.weights import Weights, read_weights
from nas_sv2.studies.findings.attributes import IDENTITY
from nas_sv2.studies.storage.named_networks import record_of, trial_named
from nas_sv2.studies.storage.study import load_study, study_key, width_factor_of
from nas_sv2.studies.storage.weights_folder import WeightsFolder

ENDING = ".safetensors"


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

    weights: Weights
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


def weights_named(text: str, db: Database) -> KeptWeights:
    """Load the weights that `text` names.

    Args:
        text: `FILE.safetensors` or `STUDY:NUMBER`.
        db: The database of the studies.

    Raises:
        ConfigError: The text names no weights, or the trial's weights were not kept.
        StoreError: The database or the weights cannot be read.
    """
    if text.endswith(ENDING):
        return _of_file(text)
    trial = trial_named(text)
    if trial is None:
        raise ConfigError(
            "weights", text, "must name a file FILE.safetensors or a trial STUDY:NUMBER"
        )
    found = weights_of_trial(*trial, db)
    if found is None:
        allowed = (
            "must be a trial whose weights were kept, on the front or a baseline, or export it"
        )
        raise ConfigError("weights", text, allowed)
    return found


def weights_of_trial(study: str, number: int, db: Database) -> KeptWeights | None:
    """Load the weights of a trial, or return None if they were not kept.

    Raises:
        ConfigError: The trial does not exist.
        StoreError: The database or the weights cannot be read.
    """
    record = record_of(db, study, number)
    opened = load_study(db, study)
    weights = WeightsFolder.of_study(db, study_key(opened)).find(record.architecture.digest)
    if weights is None:
        return None
    trained = record.evaluation
    factor = width_factor_of(opened.user_attrs[IDENTITY])
    source = f"{study}:{number}"
    return KeptWeights(weights, source, trained.recipe, trained.seed, trained.data, factor)


def _of_file(text: str) -> KeptWeights:
    try:
        return KeptWeights(read_weights(Path(text)), text)
    except OSError as error:
        raise ConfigError(
            "weights", text, f"must be a readable safetensors file ({error})"
        ) from None
