"""The networks of a confirmation: finalists, and hand-designed networks of the level."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_sv2.errors import ConfigError
from nas_sv2.space.choices.levels import LEVELS, nearest_level
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.front import front_of
from nas_sv2.studies.findings.record import Record

BEST = "best"


@dataclass(frozen=True)
class Contestant:
    """A network of a confirmation.

    Attributes:
        name: Name of a hand-designed network, otherwise the beginning of the digest.
        architecture: The network.
        trial: Its trial in the study; None for a baseline that the study does not have.
    """

    name: str
    architecture: Architecture
    trial: int | None


def finalists_of(records: Mapping[int, Record], trials: Sequence[str]) -> list[int]:
    """The numbers of the finalists' trials.

    Args:
        records: Records of the study, by trial.
        trials: Numbers, or `best` alone: the highest score of the front without baselines.

    Raises:
        ConfigError: If a trial is not a candidate of the study.
    """
    candidates = [number for number, record in records.items() if record.baseline is None]
    known = ", ".join(map(str, candidates)) or "there is none"
    if list(trials) == [BEST]:
        front = [entry for entry in front_of(records) if entry.on_front]
        found = [entry for entry in front if entry.record.baseline is None]
        if not found:
            allowed = (
                f"must be numbers, because no candidate is on the front; candidates are {known}"
            )
            raise ConfigError("trials", list(trials), allowed)
        return [max(found, key=lambda entry: entry.record.evaluation.score).number]
    numbers = [int(word) if word.isdecimal() and word.isascii() else -1 for word in trials]
    if not set(numbers) <= set(candidates) or len(set(numbers)) < len(numbers):
        allowed = (
            f"must be best, or numbers of candidates ({known}), each once; "
            "baselines take part anyway"
        )
        raise ConfigError("trials", list(trials), allowed)
    return numbers


def contestants(
    records: Mapping[int, Record], finalists: Sequence[int], identity: Mapping[str, Any]
) -> list[Contestant]:
    """The finalists, then the baselines; claims are about the first baseline."""
    first = records[finalists[0]]
    of_trial = {record.baseline: n for n, record in records.items() if record.baseline}
    names = dict.fromkeys([_against(first, identity), *of_trial])
    like = first.architecture
    baselines = [
        Contestant(
            name,
            dataclasses.replace(
                reference(name),
                resolution=like.resolution,
                channels=like.channels,
                classes=like.classes,
            ),
            of_trial.get(name),
        )
        for name in names
    ]
    return [
        *(
            Contestant(records[n].architecture.digest[:8], records[n].architecture, n)
            for n in finalists
        ),
        *baselines,
    ]


def _against(record: Record, identity: Mapping[str, Any]) -> str:
    """The network of the study's level in its plain form: V2 1× at 140 MFLOPs."""
    level = LEVELS.get(identity["space"])
    if level is None or level.digest != identity["space_digest"]:
        level = nearest_level(identity["budget"]["flops"] or record.cost.flops)
    return level.baselines[0]
