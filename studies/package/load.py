"""Loads an exported network from its folder, and checks that its files fit together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import parse_json
from nas_sv2.space.networks.lowering import Classifier, lower, network_in
from nas_sv2.space.runtimes.weights import Array, Weights, check_weights, parse_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.card import CARD_JSON, SCHEMA_KEY, SCHEMA_VERSION
from nas_sv2.studies.package.folder import ARCHITECTURE, SUMS, read_folder
from nas_sv2.studies.package.forms import TRAINED, WEIGHTS, plain_module

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Package:
    """An exported network as loaded; every file matches its checksum.

    Attributes:
        folder: Folder of the package.
        architecture: Network as found by the search, at the resolution of its latency.
        trained: Form in which the network was trained; weights and models belong to it.
        weights: Weights of the trained form.
        card: Content of `card.json`.
        files: Content of each file, by name.
    """

    folder: Path
    architecture: Classifier
    trained: Classifier
    weights: Mapping[str, Array]
    card: Mapping[str, Any]
    files: Mapping[str, bytes]

    def module(self) -> "torch.nn.Module":
        """Build the network in torch, in evaluation mode; as `model.py` does, if there is one."""
        if isinstance(self.trained, Architecture):
            return plain_module(self.trained, self.weights)
        from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights

        graph = lower(self.trained)
        module = build_module(graph)
        load_weights(module, graph, self.weights)
        return module.eval()


def load_package(folder: Path) -> Package:
    """Load the package in `folder`.

    Raises:
        ConfigError: If the folder is not a package, or its files are not of one network.
        StoreError: If a file is missing or differs from its checksum.
    """
    files = read_folder(folder)
    for name in (ARCHITECTURE, WEIGHTS, CARD_JSON):
        if name not in files:
            raise ConfigError(f"{SUMS} of {folder}", sorted(files), f"must list {name}")
    found = network_in(folder / ARCHITECTURE, files[ARCHITECTURE])
    trained = network_in(folder / TRAINED, files[TRAINED]) if TRAINED in files else found
    try:
        weights = parse_weights(files[WEIGHTS])
    except ValueError as error:
        raise ConfigError(
            "file", str(folder / WEIGHTS), f"must be readable weights ({error})"
        ) from None
    check_depth(trained, weights)
    check_weights(lower(trained), weights)
    return Package(
        folder, found, trained, weights, parse_card(folder / CARD_JSON, files[CARD_JSON]), files
    )


def check_depth(network: Classifier, weights: Weights) -> None:
    """Refuse a network that is deeper than its weights are many.

    Lowering a depth of billions would take hours before missing weights are noticed.

    Raises:
        ConfigError: It has more units than there are weights.
    """
    if isinstance(network, Architecture):
        units = sum(stage.depth for stage in network.stages)
        if units > len(weights):
            raise ConfigError("weights", len(weights), f"must be weights of {units} units")


def parse_card(file: Path, text: bytes) -> Mapping[str, Any]:
    """Return the content of `card.json`.

    Raises:
        ConfigError: It is not a card of this version.
    """
    allowed = f"must be a card that starts with {SCHEMA_KEY}: {SCHEMA_VERSION}"
    try:
        card = parse_json(text)
    except ValueError as error:
        raise ConfigError("file", str(file), f"{allowed} ({error})") from None
    if not isinstance(card, dict) or card.get(SCHEMA_KEY) != SCHEMA_VERSION:
        raise ConfigError("file", str(file), allowed)
    return card
