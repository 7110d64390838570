"""The networks that a search asks first: the user's own, and the front of another study.

The other study may have other data, another space or other targets. Its networks take the input,
the classes and the strides of the space. Those that then lie outside it are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.networks.lowering import load_network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import in_form_of
from nas_sv2.studies.storage.facts import read_study

PACKAGED = "architecture.yaml"
"""The description of its network in an exported package."""
Start = str | Path | Architecture
"""A file or a package with a network of the user's own, or the network."""


def read_start(start: Start | Sequence[Start], space: SearchSpace) -> tuple[Architecture, ...]:
    """Read networks of the user's own, in the form of the space.

    Raises:
        ConfigError: One cannot be read, or lies outside the space.
    """
    return tuple(_point(one, space) for one in _listed(start))


def typed_start(start: Start | Sequence[Start]) -> list[str]:
    """The files among them, as a command line has them; objects have no words."""
    return [str(one) for one in _listed(start) if not isinstance(one, Architecture)]


def _listed(start: Start | Sequence[Start]) -> Sequence[Start]:
    return [start] if isinstance(start, str | Path | Architecture) else start


def _point(start: Start, space: SearchSpace) -> Architecture:
    name = start.digest if isinstance(start, Architecture) else str(start)
    network = start if isinstance(start, Architecture) else load_network(_file(Path(start)))
    if not isinstance(network, Architecture):
        allowed = "must describe a network of ShuffleNet V2 units; this is one of another family"
        raise ConfigError("start", name, allowed)
    formed = in_form_of(space, network)
    if why := _missing(formed, space):
        raise ConfigError("start", name, f"must be a point of space {space.name}: {why}")
    return formed


def _file(path: Path) -> Path:
    return path / PACKAGED if path.is_dir() else path


def _missing(network: Architecture, space: SearchSpace) -> str:
    """Return the reason for which a network lies outside the space; empty if it does not."""
    try:
        space.params_of(network)
    except ConfigError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class WarmStart:
    """The candidates that are asked after the baselines.

    Attributes:
        params: Their parameters, in order.
        described: Lines that say where they come from, and which were left out.
    """

    params: Sequence[dict[str, Any]] = ()
    described: tuple[str, ...] = ()


def open_warm_start(
    own: Sequence[Architecture], study: str | None, space: SearchSpace, db: Database
) -> WarmStart:
    """Gather the user's networks, then the front of another study.

    Args:
        own: Points of the space.
        study: The name of the other study; None for none.
        space: The space of the search.
        db: The database of both studies.

    Raises:
        ConfigError: There is no such study.
        StoreError: It cannot be read.
    """
    described = [f"start     {_counted(len(own))} of your own"] if own else []
    found = list(own)
    if study is not None:
        front = read_study(db, study).front.members
        formed = {one.number: in_form_of(space, one.record.architecture) for one in front}
        missing = {number: _missing(network, space) for number, network in formed.items()}
        inside = [network for number, network in formed.items() if not missing[number]]
        found += inside
        described.append(f"start     {_counted(len(inside))} from the front of {study}")
        described += [
            f"          left out, no point of space {space.name}: {study}:{number}: {why}"
            for number, why in missing.items()
            if why
        ]
    distinct = {network.digest: network for network in found}
    return WarmStart([space.params_of(one) for one in distinct.values()], tuple(described))


def _counted(count: int) -> str:
    return f"{count} network{'' if count == 1 else 's'}"
