"""Trained weights by what the user calls them: a file, or a trial of a study."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.studies.storage.named_networks import record_of, trial_named
from nas_sv2.studies.storage.study import load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Weights and where they come from.

    Attributes:
        weights: The numbers.
        source: The file or trial, as the user named it.
        recipe: How they were trained; None where that is not known.
        seed: Of the training; None where that is not known.
        data: What they were trained on; None where that is not known.
    """

    weights: Weights
    source: str
    recipe: str | None = None
    seed: int | None = None
    data: str | None = None

    def describe(self) -> str:
        """One line for people."""
        if self.recipe is None:
            return f"weights of {self.source}, of which recipe and seed are not known"
        return f"weights of {self.source}: recipe {self.recipe}, seed {self.seed}, {self.data}"


def weights_named(text: str, db: Database) -> KeptWeights:
    """The weights that `text` names.

    Args:
        text: `FILE.safetensors` or `STUDY:NUMBER`.
        db: Where studies are.

    Raises:
        ConfigError: It names none, or the trial's were not kept.
        StoreError: What is stored cannot be read.
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
    """The weights of a trial, or None where they were not kept.

    Raises:
        ConfigError: There is no such trial.
        StoreError: What is stored cannot be read.
    """
    record = record_of(db, study, number)
    folder = WeightsFolder.of_study(db, study_key(load_study(db, study)))
    weights = folder.find(record.architecture.digest)
    if weights is None:
        return None
    trained = record.evaluation
    return KeptWeights(weights, f"{study}:{number}", trained.recipe, trained.seed, trained.data)


def _of_file(text: str) -> KeptWeights:
    try:
        return KeptWeights(load_file(Path(text)), text)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            "weights", text, f"must be a readable safetensors file ({error})"
        ) from None
