"""How many CPU threads the trainings of a study use: all the same, since figures depend on it."""

import optuna

from nas_sv2.evaluate.fitting.determinism import default_threads
from nas_sv2.studies.findings.attributes import THREADS

MOST_THREADS = 2  # more were not tried; see `default_threads`


def training_threads(study: optuna.Study, share: int) -> int:
    """What the study was begun with; else as many as a training has cores, two at most.

    Several may not ask at the same time for a study that is new.

    Args:
        study: The study.
        share: The cores that each of the trainings under way has for itself.
    """
    known: int | None = study.user_attrs.get(THREADS)
    if known is None:
        begun = bool(study.get_trials(deepcopy=False))  # by a program that had no workers
        known = default_threads() if begun else max(1, min(MOST_THREADS, share))
        study.set_user_attr(THREADS, known)
    return known
