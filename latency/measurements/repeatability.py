"""How well a device repeats, by its grade and by the earlier commands of the database."""

import statistics
from collections.abc import Sequence

from nas_sv2.latency.measurements.fingerprint import Fingerprint
from nas_sv2.latency.measurements.grade import Grade
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.spread import (
    NOT_SEEN,
    Repeatability,
    Spread,
    pooled,
    spread_of,
)
from nas_sv2.latency.measurements.store import MeasurementStore

EARLIER, FEWEST_EARLIER = 12, 5
"""Earlier commands that are looked at, the newest, and the fewest that tell a spread.

A grade holds 5 sessions by default too."""


def repeatability_of(
    store: MeasurementStore, fingerprint: Fingerprint, plan: MeasurePlan
) -> Repeatability:
    """Return how well a device repeats by this plan, as far as the database knows.

    Raises:
        StoreError: The database cannot be read.
    """
    grade = store.grade(fingerprint, plan)
    return seen_by(grade, store.reference_times(fingerprint, plan, EARLIER))


def seen_by(grade: Grade | None, earlier_ms: Sequence[float]) -> Repeatability:
    """Return what a grade and earlier commands say; their spreads of milliseconds are pooled.

    Args:
        grade: The grade of the device; None if it has none.
        earlier_ms: The time of the reference network in earlier commands, in ms.
    """
    earlier = earlier_ms if len(earlier_ms) >= FEWEST_EARLIER else ()
    if grade is None and not earlier:
        return NOT_SEEN
    seen, spreads = [], list[Spread]()
    if grade is not None:
        seen.append(f"graded {grade.graded_at[:10]}")
        spreads.append(Spread(grade.reference_cv, grade.sessions - 1))
    if earlier:
        seen.append(f"seen in {len(earlier)} earlier commands")
        spreads.append(spread_of(earlier))
    return Repeatability(
        ms=pooled(spreads),
        ratio=NOT_SEEN.ratio if grade is None else Spread(grade.ratio_cv, grade.sessions - 1),
        seen=", ".join(seen),
        reference_ms=statistics.median(earlier) if grade is None else grade.reference_ms,
        saw_ratios=grade is not None,
    )
