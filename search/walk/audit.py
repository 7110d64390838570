"""Audits the guidelines: some candidates that they prune are measured and trained anyway.

The share of audited candidates is given. An audited candidate on the front shows that a guideline
is too strict. The limit is then relaxed until this candidate keeps it, and the user is informed.
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
"""Finished candidates before an audit counts: of a few, almost all are on the front."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The choice of the pruned candidates that are audited.

    Attributes:
        share: Share of the pruned candidates; 0 for none.
        salt: Decides which candidates; a study keeps it.

    Raises:
        ConfigError: If the share is not from 0 to 1.
    """

    share: float = SHARE
    salt: str = ""

    def __post_init__(self) -> None:
        """Refuse a value that is not a share."""
        if not 0 <= self.share <= 1:
            raise ConfigError("audit", self.share, "must be a share from 0 to 1, as 0.05")

    def takes(self, digest: str) -> bool:
        """Whether the candidate of this digest is audited if it is pruned."""
        drawn = hashlib.sha256(f"{self.salt} {digest}".encode()).digest()[:8]
        return int.from_bytes(drawn) < self.share * 2**64


@dataclass
class RelaxedLimits:
    """The guidelines of a study, as relaxed by its audit so far; `GuidelineLimits`.

    The walk checks every candidate by them. The loop reports the audited candidates on the front.

    Attributes:
        first: The guidelines at the start of the study.
        study: Keeps the factor of each limit, for all workers.
    """

    first: GuidelineLimits
    study: Attributes
    _slack: dict[str, float] = field(default_factory=dict)
    _heard: set[int] = field(default_factory=set)

    @property
    def limits(self) -> Mapping[str, float]:
        """The current limits."""
        return self._now.limits

    def excesses(self, graph: Graph) -> dict[str, float]:
        """The excess of `graph` over each current limit."""
        return self._now.excesses(graph)

    def read(self) -> None:
        """Read the factors from the study, as all workers have relaxed them."""
        self._slack = dict(self.study.user_attrs.get(RELAXED, {}))

    def exceeded(self, excesses: Mapping[str, float]) -> dict[str, float]:
        """The factors by which the first limits would have to be relaxed for a candidate.

        Args:
            excesses: Excesses of the candidate over the current limits.
        """
        return {
            name: (1 + excesses[name]) * self._slack.get(name, 1.0)
            for name in self.first.limits
            if excesses[name] > 0
        }

    def unheard(self, on_front: Iterable[int]) -> set[int]:
        """The trials of the front that `learn` has not seen."""
        return set(on_front) - self._heard

    def learn(self, exceeded: Mapping[int, Mapping[str, float]]) -> str:
        """Relax the limits that would reject candidates on the front.

        Args:
            exceeded: Results of `exceeded` at the audits, by trial of the front.

        Returns:
            The relaxed limits, in words; empty if there are none.
        """
        known: dict[str, float] = dict(self.study.user_attrs.get(RELAXED, {}))
        slack = dict(known)
        # Our own too: another worker may have written over them at the same time.
        for factors in (self._slack, *exceeded.values()):
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
