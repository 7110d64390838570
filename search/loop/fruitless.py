"""Trials that came to nothing since the last one that finished: for how long that goes on."""

from collections import Counter
from dataclasses import dataclass, field

from nas_sv2.errors import InfeasibleError, NasError
from nas_sv2.search.events.events import Verdict

# Trials since the last finished one, after which the search ends.
FAILURES = 3  # faults; the third without a success between is no accident
REJECTIONS = 2000  # as many as are sampled before the search to see that it can succeed
DUPLICATES = 200  # a sampler that learns repeats itself, but not for so long


@dataclass
class Fruitless:
    """Counts them.

    Attributes:
        space: The name of the space.
        wanted: How many networks are wanted of it.
    """

    space: str
    wanted: int
    _counts: Counter[Verdict] = field(default_factory=Counter)

    def count(self, verdict: Verdict, error: NasError | None) -> None:
        """One more trial has ended.

        Raises:
            InfeasibleError: Too many candidates were rejected, or known already.
            NasError: The last of too many failures.
        """
        if verdict == "finished":
            self._counts.clear()
            return
        self._counts[verdict] += 1
        if self._counts["failed"] == FAILURES and error is not None:
            raise error
        if self._counts["rejected"] == REJECTIONS or self._counts["duplicate"] == DUPLICATES:
            raise InfeasibleError(
                f"no new network in {self._counts['rejected']} rejected candidates and "
                f"{self._counts['duplicate']} known ones: space {self.space} hardly has "
                f"{self.wanted} networks within the limits; the last: {error}"
            )
