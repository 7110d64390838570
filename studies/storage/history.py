"""What a study holds already, read by a process that begins to work on it."""

import gc

import optuna

from nas_sv2.studies.storage.record_store import RecordStore


def read_history(study: optuna.Study, store: RecordStore) -> None:
    """Have Optuna and `store` read all trials and records; later only what is new is read.

    Thousands of trials make a million objects and no garbage; looking for it meanwhile would be a
    third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        study.get_trials(deepcopy=False)
        store.all()
    finally:
        if was_on:
            gc.enable()
