"""Some of what the guidelines prune goes the whole way: are they right?

A stated share of pruned candidates is measured and trained like the others. One that is on the
front shows that a guideline was too strict: its limit is relaxed so far that this candidate keeps
it, and the user is told.
"""

import hashlib
from dataclasses import dataclass

from nas_sv2.errors import ConfigError

SHARE = 0.05
MATURE = 10
"""Finished candidates from which the audit is listened to: on the front of a few is almost all."""


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
            raise ConfigError("audit", self.share, "must be a share from 0 to 1, as 0.05")

    def takes(self, digest: str) -> bool:
        """Whether the candidate of this digest goes the whole way though it is pruned."""
        drawn = hashlib.sha256(f"{self.salt} {digest}".encode()).digest()[:8]
        return int.from_bytes(drawn) < self.share * 2**64
