"""How many CPU threads the trainings of a study use: all the same, since figures depend on it."""

import optuna

from nas_sv2.evaluate.determinism import core_count, default_threads
from nas_sv2.studies.study import THREADS


def training_threads(study: optuna.Study, workers: int) -> int:
    """What the study was begun with; else the cores of this machine shared among `workers`.

    Several may not ask at the same time for a study that is new.
    """
    known: int | None = study.user_attrs.get(THREADS)
    if known is None:
        begun = bool(study.get_trials(deepcopy=False))  # by a program that had no workers
        known = default_threads()
        if not begun:
            known = max(1, min(known, core_count() // workers))
        study.set_user_attr(THREADS, known)
    return known
