"""The networks of a confirmation: finalists, and the networks that they are compared with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.resolution import Resolution, in_pixels
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.scaled_family import nearest_scaled, scaled_family
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import in_form_of, reference, width_named
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.named_networks import record_of, trial_named

BEST = "best"


@dataclass(frozen=True)
class Contestant:
    """A network of a confirmation.

    Attributes:
        name: Name of a hand-designed network, `STUDY:NUMBER` of another study's, otherwise the
            beginning of the digest.
        architecture: The network.
        trial: Its trial in the study; None for a network that the study does not have.
    """

    name: str
    architecture: Architecture
    trial: int | None


@dataclass(frozen=True)
class Field:
    """All networks of a confirmation, each once.

    Attributes:
        finalists: Those that are confirmed.
        rivals: Those that every finalist is compared with: the baseline, then another study's.
        others: Further baselines, and the rest of the scaled family.
        in_family: Whether the scaled family is compared with.
    """

    finalists: Sequence[Contestant]
    rivals: Sequence[Contestant]
    others: Sequence[Contestant]
    in_family: bool

    @property
    def all(self) -> list[Contestant]:
        """The networks in the order in which they are shown."""
        return [*self.finalists, *self.rivals, *self.others]

    @property
    def family(self) -> list[int]:
        """Places of the scaled family among all; its widths are in the names."""
        if not self.in_family:
            return []
        return [n for n, one in enumerate(self.all) if width_named(one.name) is not None]


def finalists_of(front: Front, trials: Sequence[str]) -> list[int]:
    """The numbers of the finalists' trials.

    Args:
        front: The front of the study, with all its records.
        trials: Numbers, or `best` alone: what is believed to be the best of the front, without
            baselines.

    Raises:
        ConfigError: If a trial is not a candidate of the study.
    """
    candidates = [number for number, one in front.records.items() if one.baseline is None]
    if not candidates:
        raise ConfigError("trials", list(trials), "must wait: the study has no candidate yet")
    known = ", ".join(map(str, candidates))
    if list(trials) == [BEST]:
        found = [each for each in front.members if each.record.baseline is None]
        if not found:
            allowed = (
                f"must be numbers, because no candidate is on the front; candidates are {known}"
            )
            raise ConfigError("trials", list(trials), allowed)
        return [max(found, key=lambda entry: entry.believed).number]
    numbers = [int(word) if re.fullmatch("[0-9]{1,18}", word) else -1 for word in trials]
    if not set(numbers) <= set(candidates) or len(set(numbers)) < len(numbers):
        allowed = (
            f"must be best, or numbers of candidates ({known}), each once; "
            "baselines take part anyway"
        )
        raise ConfigError("trials", list(trials), allowed)
    return numbers


def contestants(
    records: Mapping[int, Record],
    finalists: Sequence[int],
    identity: Mapping[str, Any],
    family: int,
    rival: Contestant | None,
) -> Field:
    """Gather the networks of a confirmation.

    Args:
        records: Records of the study, by trial.
        finalists: Trials of the finalists.
        identity: The identity of the study.
        family: Number of widths of the scaled family; 0 for none.
        rival: Another study's network to compare with.

    Raises:
        ConfigError: If there is no such family, or the rival has another input.
    """
    ours = [records[n] for n in finalists]
    like = ours[0].architecture
    if rival is not None:
        _check_input(like, rival)
    of_trial = {record.baseline: n for n, record in records.items() if record.baseline}
    flops = [record.cost.flops for record in ours]
    plain = list(dict.fromkeys([_against(ours[0], identity, of_trial), *of_trial]))
    widths = [name for name in plain if width_named(name) is not None]
    scaled = scaled_family(like, min(flops), max(flops), family, widths) if family else []
    against, *others = dict.fromkeys([*plain, *scaled])
    known = {record.architecture.digest for record in ours}

    def named(name: str) -> Contestant:
        return Contestant(name, in_form_of(like, reference(name)), of_trial.get(name))

    rivals = [named(against), *([] if rival is None else [rival])]
    for place, one in enumerate(rivals):
        if one.architecture.digest in known:
            allowed = f"must not be {one.name} itself, with which they are compared"
            raise ConfigError("vs_study" if place else "trials", one.name, allowed)
    known |= {one.architecture.digest for one in rivals}
    further = {one.architecture.digest: one for one in map(named, reversed(others))}
    return Field(
        [
            Contestant(record.architecture.digest[:8], record.architecture, number)
            for number, record in zip(finalists, ours, strict=True)
        ],
        rivals,
        [one for digest, one in reversed(further.items()) if digest not in known],
        family > 0,
    )


def study_of(text: str) -> str:
    """Return the study of `STUDY` or `STUDY:NUMBER`."""
    named = trial_named(text)
    return text if named is None else named[0]


def rival_named(text: str, db: Database) -> Contestant:
    """Another study's network: `STUDY` for the best of its front, or `STUDY:NUMBER`.

    Raises:
        ConfigError: There is no such study or trial.
    """
    try:
        if (named := trial_named(text)) is not None:
            name, number = named
            return Contestant(f"{name}:{number}", record_of(db, name, number).architecture, None)
        facts = read_study(db, text)
        (number,) = finalists_of(facts.front, [BEST])
    except ConfigError as error:  # which names the study or the trial
        raise ConfigError("vs_study", text, error.sentence) from None
    return Contestant(f"{text}:{number}", facts.records[number].architecture, None)


def _check_input(like: Architecture, rival: Contestant) -> None:
    def input_of(network: Architecture) -> tuple[int, Resolution, int]:
        return network.channels, network.resolution, network.classes

    if input_of(rival.architecture) != input_of(like):
        channels, size, classes = input_of(like)
        taken = f"{channels} × {in_pixels(size, ' × ')}"
        allowed = (
            f"must be a study whose networks take {taken} pixels and tell "
            f"{classes} classes apart, as the finalists do"
        )
        raise ConfigError("vs_study", rival.name, allowed)


def _against(record: Record, identity: Mapping[str, Any], of_trial: Mapping[str, int]) -> str:
    """Name the network that claims are about.

    That is the level's plain network, V2 1× at 140 MFLOPs. In a space of one's own it is the
    study's first plain V2, otherwise V2 of as many FLOPs as the finalist.
    """
    level = LEVELS.get(identity["space"])
    if level is not None and level.digest == identity["space_digest"]:
        return level.baselines[0]
    own = (name for name in of_trial if width_named(name) is not None)
    return next(own, None) or nearest_scaled(record.architecture, record.cost.flops)
