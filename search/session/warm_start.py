"""The networks that a search asks first, and the study whose trainings inform it.

The first networks are the user's own, and the front of the other study. That may have other data,
another space or other targets. Its networks take the input, the classes and the strides of the
space. Those that then lie outside it are not asked.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import optuna

from nas_sv2.counts import counted
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.networks.lowering import load_network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import in_form_of
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.other_study import OtherStudy
from nas_sv2.studies.findings.attributes import BEGUN_FROM, KEY, check_classifiers
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.study import find_study, study_key

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
    network = (
        start if isinstance(start, Architecture) else load_network(_file(Path(start)), "start")
    )
    if not isinstance(network, Architecture):
        allowed = "must describe a network of ShuffleNet V2 units; this is one of another family"
        raise ConfigError("start", name, allowed)
    formed = in_form_of(space, network)
    if why := _missing(formed, space):
        raise ConfigError("start", name, f"must be a point of space {space.name}: {why}")
    return formed


def _file(path: Path) -> Path:
    return path / PACKAGED if os.path.isdir(path) else path


def _missing(network: Architecture, space: SearchSpace) -> str:
    """Return the reason for which a network lies outside the space; empty if it does not."""
    try:
        space.params_of(network)
    except ConfigError as error:
        return str(error)
    return ""


def begun_from(name: str, study: optuna.Study, db: Database) -> OtherStudy:
    """Return the study that a search is begun from, as it was when the search began.

    Args:
        name: Its name.
        study: The study of the search, where it is kept.
        db: The database of both studies.

    Raises:
        ConfigError: There is no such study.
        StoreError: It cannot be read.
    """
    key = study_key(study)
    if study.user_attrs.get(BEGUN_FROM, {}).get(KEY) != key:
        find_study(db, name, "warm_start", asking=study.study_name)
        facts = read_study(db, name)
        check_classifiers(facts.identity, "warm_start", name)
        front = [member.number for member in facts.front.members]
        kept = OtherStudy.kept(key, name, front, facts.records)
        study.set_user_attr(BEGUN_FROM, msgspec.to_builtins(kept))
    return OtherStudy.read(study.user_attrs[BEGUN_FROM])


@dataclass(frozen=True)
class WarmStart:
    """The candidates that are asked after the baselines, and what is known before.

    Attributes:
        params: Their parameters, in order.
        described: Lines that say where they come from, and which were left out.
        informing: The model of accuracy of another study, or None.
    """

    params: Sequence[dict[str, Any]] = ()
    described: tuple[str, ...] = ()
    informing: AccuracyModel | None = None

    @classmethod
    def of(cls, own: Sequence[Architecture], other: OtherStudy | None, space: SearchSpace) -> Self:
        """Gather the user's networks, then the front of another study.

        Args:
            own: Points of the space.
            other: The other study; None for none.
            space: The space of the search.
        """
        described = [f"start     {counted(len(own), 'network')} of your own"] if own else []
        found, informing = list(own), None
        if other is not None:
            formed = {trial: in_form_of(space, network) for trial, network in other.front.items()}
            missing = {trial: _missing(network, space) for trial, network in formed.items()}
            inside = [network for trial, network in formed.items() if not missing[trial]]
            found += inside
            informing = other.model(space)
            described.append(
                f"start     {counted(len(inside), 'network')} from the front of {other.name}; "
                + other.describe(informing)
            )
            described += [
                f"          left out, no point of space {space.name}: {other.name}:{trial}: {why}"
                for trial, why in missing.items()
                if why
            ]
        distinct = {network.digest: network for network in found}
        params = [space.params_of(one) for one in distinct.values()]
        return cls(params, tuple(described), informing)
