"""The runs of a network as stored columns, and those of several sessions joined."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas_sv2.latency.agent.estimator import Samples


def columns_of(samples: Samples) -> dict[str, Any]:
    """Return the columns by name, as a measurement is stored."""
    return {name: None if v is None else list(v) for name, v in samples._asdict().items()}


def samples_from(columns: Mapping[str, Any]) -> Samples:
    """Read the runs that `columns_of` wrote."""
    switches = columns["switches"]
    return Samples(
        wall=tuple(columns["wall"]),
        cpu=tuple(columns["cpu"]),
        switches=None if switches is None else tuple(switches),
        rounds=tuple(columns["rounds"]),
    )


def joined_samples(sessions: Sequence[Samples], starts: Sequence[int]) -> Samples:
    """Join the runs of sessions, with the rounds of each counted from its start."""
    switches = [one.switches for one in sessions if one.switches is not None]
    return Samples(
        wall=tuple(ms for one in sessions for ms in one.wall),
        cpu=tuple(ms for one in sessions for ms in one.cpu),
        switches=tuple(n for column in switches for n in column)
        if len(switches) == len(sessions)
        else None,
        rounds=tuple(
            start + number
            for one, start in zip(sessions, starts, strict=True)
            for number in one.rounds
        ),
    )
