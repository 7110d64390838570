"""Some of what the guidelines prune goes the whole way: are they right?

A stated share of pruned candidates is measured and trained like the others. One that would be on
the front shows that a guideline was too strict: its limits are relaxed so far that this candidate
keeps them, and the user is told.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.studies.front import front_of
from nas_sv2.studies.record import Record

SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Audit:
    """Which pruned candidates are looked at.

    Attributes:
        share: Of all of them; 0 for none.
        salt: Decides which; the same for the same study.

    Raises:
        ConfigError: The share is none.
    """

    share: float = SHARE
    salt: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not 0 <= self.share <= 1:
            raise ConfigError("--audit", self.share, "a share from 0 to 1, as 0.05")

    def takes(self, digest: str) -> bool:
        """Whether the candidate of this digest goes the whole way though it is pruned."""
        drawn = hashlib.sha256(f"{self.salt} {digest}".encode()).digest()[:8]
        return int.from_bytes(drawn) < self.share * 2**64


def enters_front(number: int, record: Record, others: Mapping[int, Record]) -> bool:
    """Whether `record` stands on the front beside the others."""
    entries = front_of({**others, number: record})
    return any(entry.number == number and entry.on_front for entry in entries)
