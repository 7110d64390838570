"""Weights to start a training from, found by the user's words for them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.supernet.trained import FACTS, open_supernet
from nas_sv2.space.networks.lowering import Classifier
from nas_sv2.space.runtimes.torchvision_weights import (
    KIND,
    STATE_ENDINGS,
    published_state,
    read_state,
)
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.folder import SUMS
from nas_sv2.studies.package.load import load_package
from nas_sv2.studies.storage.named_networks import WEIGHTS_ENDING, trial_named, weights_named

if TYPE_CHECKING:
    from nas_sv2.database.database import Database


def find_starting_weights(text: str, network: Classifier, db: "Database") -> Weights:
    """Return the weights that `text` names, by name; they may be of another network.

    Args:
        text: A folder of an exported network or of a supernet, `FILE.safetensors`, a file of
            torchvision's weights, `torchvision:NAME`, or `STUDY:NUMBER`.
        network: The network that starts from them; a supernet holds weights for each of its own.
        db: The database of the studies.

    Raises:
        ConfigError: The text names no weights, or the supernet has no such network.
        StoreError: A file or the database cannot be read.
    """
    kind, _, name = text.partition(":")
    if kind == KIND and name:
        return published_state(name)
    path = Path(text)
    if os.path.isdir(path):
        return _of_folder(path, network)
    if path.suffix in STATE_ENDINGS:
        return read_state(path)
    if path.suffix == WEIGHTS_ENDING or trial_named(text) is not None:
        return weights_named(text, db).weights
    allowed = (
        "must be a folder that export, network train or supernet train wrote, FILE.safetensors, "
        f"FILE{STATE_ENDINGS[0]} or {KIND}:NAME of torchvision, or STUDY:NUMBER"
    )
    raise ConfigError("weights", text, allowed)


def _of_folder(folder: Path, network: Classifier) -> Weights:
    if os.path.exists(folder / SUMS):
        return load_package(folder).weights
    if not os.path.exists(folder / FACTS):
        allowed = f"must be a folder with {SUMS} of an exported network, or {FACTS} of a supernet"
        raise ConfigError("weights", str(folder), allowed)
    if not isinstance(network, Architecture):
        allowed = "must be weights of this network; a supernet has those of its space alone"
        raise ConfigError("weights", str(folder), allowed)
    return open_supernet(folder).weights_for(network)
