"""Two searches that begin under one name: the question of the one that came further stands."""

import threading
from collections.abc import Iterator

import optuna
import pytest

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.studies.storage.study import claim, create_or_resume, study_key


@pytest.fixture
def db(storage: str) -> Iterator[Database]:
    db = Database.open(storage)
    yield db
    db.close()


def opened(storage: str, seed: int) -> tuple[optuna.Study, str]:
    """The study as a search with that seed finds it, and its key."""
    identity = {"targets": {"fake": "measured"}, "seed": seed}
    study = create_or_resume(
        Database.open(storage), "s", identity, optuna.samplers.RandomSampler()
    )
    return study, study_key(study)


def test_before_anything_was_asked_the_later_question_stands(storage: str, db: Database) -> None:
    first, key = opened(storage, 1)
    second, other = opened(storage, 2)
    with pytest.raises(ConfigError, match="another search has just begun under this one"):
        claim(first, key, db)
    claim(second, other, db)
    claim(second, other, db)  # another worker of the same search
    assert opened(storage, 2)[1] == other


def test_what_is_about_to_be_asked_is_not_replaced(storage: str, db: Database) -> None:
    """Its first trial would stand under the question of another."""
    study, key = opened(storage, 1)
    claim(study, key, db)
    with pytest.raises(ConfigError, match="this one was begun with seed 1, not 2"):
        opened(storage, 2)
    assert study_key(study) == key


def test_of_searches_that_begin_at_once_one_question_is_left(storage: str, db: Database) -> None:
    claimed: dict[int, str] = {}
    refused: list[int] = []

    def begin(seed: int) -> None:
        try:
            study, key = opened(storage, seed)
            claim(study, key, db)
            study.ask()
            claimed[seed] = key
        except ConfigError:
            refused.append(seed)

    threads = [threading.Thread(target=begin, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(claimed), len(refused)) == (1, 3)
    (seed,) = claimed
    assert opened(storage, seed)[1] == claimed[seed]
