"""Some of what the guidelines prune goes the whole way: are they right?

A stated share of pruned candidates is measured and trained like the others. One that is on the
front shows that a guideline was too strict: its limit is relaxed so far that this candidate keeps
it, and the user is told.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nas_sv2.errors import ConfigError
from nas_sv2.search.walk.drift_correction import Attributes
from nas_sv2.space.graph.guidelines import GuidelineLimits, Relaxed
from nas_sv2.space.graph.operators import Graph
from nas_sv2.studies.findings.attributes import RELAXED

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


@dataclass
class RelaxedLimits:
    """The guidelines of a study as its audit has relaxed them so far; `GuidelineLimits`.

    The walk asks it about every candidate, and the loop tells it what is on the front.

    Attributes:
        first: The guidelines that the study was begun with.
        study: Keeps by what each limit is multiplied, for all workers.
    """

    first: GuidelineLimits
    study: Attributes
    _slack: dict[str, float] = field(default_factory=dict)
    _heard: set[int] = field(default_factory=set)

    @property
    def limits(self) -> Mapping[str, float]:
        """The limits as they now are."""
        return self._now.limits

    def excesses(self, graph: Graph) -> dict[str, float]:
        """How far `graph` is beyond each limit as it now is."""
        return self._now.excesses(graph)

    def read(self) -> None:
        """Take over what the workers of the study have relaxed."""
        self._slack = dict(self.study.user_attrs.get(RELAXED, {}))

    def exceeded(self, excesses: Mapping[str, float]) -> dict[str, float]:
        """The factors by which the first limits would have to be relaxed for a candidate.

        Args:
            excesses: Those of the candidate, from the limits as they now are.
        """
        return {
            name: (1 + excesses[name]) * self._slack.get(name, 1.0)
            for name in self.first.limits
            if excesses[name] > 0
        }

    def unheard(self, on_front: Iterable[int]) -> set[int]:
        """The trials of the front that `learn` was not told of."""
        return set(on_front) - self._heard

    def learn(self, exceeded: Mapping[int, Mapping[str, float]]) -> str:
        """Relax the limits that would have turned away what is on the front.

        Args:
            exceeded: By trial of the front, what `exceeded` gave when it was audited.

        Returns:
            What was relaxed, in words; empty if nothing was.
        """
        known: dict[str, float] = dict(self.study.user_attrs.get(RELAXED, {}))
        slack = dict(known)
        for factors in exceeded.values():
            for name, factor in factors.items():
                slack[name] = max(slack.get(name, 1.0), factor)
        self._slack = slack
        self._heard |= exceeded.keys()
        if slack == known:
            return ""
        self.study.set_user_attr(RELAXED, slack)
        relaxed = ", ".join(f"{name} by {factor - 1:.1%}" for name, factor in slack.items())
        return f"the audit found pruned candidates on the front; relaxed: {relaxed}"

    @property
    def _now(self) -> Relaxed:
        return Relaxed(self.first, self._slack)
