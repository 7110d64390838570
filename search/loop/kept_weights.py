"""Which candidates' weights a search keeps: those nearest to the front, up to a size.

The front that a study shows follows the fused estimates, which change with every training. So a
candidate that others beat by its own training may come onto the shown front later.
"""

from collections.abc import Mapping

import numpy as np

from nas_sv2.studies.findings.record import Record

MOST_BYTES = 512 * 2**20
"""Of weights in float32, beside those of the front and the baselines."""

PARAM_BYTES = 4


def too_far(records: Mapping[int, Record], most_bytes: int = MOST_BYTES) -> list[str]:
    """Return the digests whose weights are not to be kept.

    The front and the baselines are kept. The other candidates within the limits are kept up to
    `most_bytes`: those beaten by the fewest candidates first, and then the newest.
    """
    beaten_by = _times_beaten(records)
    beyond = [each for number, each in records.items() if number not in beaten_by]
    dropped = [record for record in beyond if record.baseline is None]
    size_bytes = 0
    for number in sorted(beaten_by, key=lambda number: (beaten_by[number], -number)):
        record = records[number]
        if beaten_by[number] == 0 or record.baseline:
            continue
        size_bytes += PARAM_BYTES * record.cost.params
        if size_bytes > most_bytes:
            dropped.append(record)
    return [record.architecture.digest for record in dropped]


def _times_beaten(records: Mapping[int, Record]) -> dict[int, int]:
    """Count for every candidate within the limits how many others dominate it."""
    numbers = [number for number, record in records.items() if record.feasible]
    scored = (records[number].objectives for number in numbers)
    costs = np.array([(-score, *times) for score, *times in scored])
    beaten = (((costs <= own).all(1) & (costs < own).any(1)).sum() for own in costs)
    return dict(zip(numbers, map(int, beaten), strict=True))
