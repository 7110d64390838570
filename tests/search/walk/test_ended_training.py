"""A real training that is ended after a pass."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nas_sv2.database.database import Database
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluation import Epoch, Evaluation
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.search.walk.stored_evaluator import StoredEvaluator
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.weights_folder import WeightsFolder

SHORT = Recipe("short", epochs=2, batch=20, learning_rate=0.05)


def training(recipe: Recipe, data: ImageData) -> ProxyTraining:
    return ProxyTraining(recipe, data, 3, threads=1)


def timeless(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, seconds=0, images_per_second=0)


def test_a_training_can_be_ended_after_a_pass(blobs: ImageData, tiny: Architecture) -> None:
    asked: list[Sequence[Epoch]] = []

    def after_the_second(history: Sequence[Epoch]) -> str | None:
        asked.append(history)
        return "enough" if len(history) == 2 else None

    longer = dataclasses.replace(SHORT, epochs=4)
    whole = training(longer, blobs).evaluate(tiny)
    ended = training(longer, blobs).train(tiny, after_the_second).evaluation
    assert ended.stopped == "enough"
    assert ended.epochs == len(ended.history) == 2
    assert [epoch.train_loss for epoch in ended.history] == [
        epoch.train_loss for epoch in whole.history[:2]
    ]
    assert ended.history[-1].accuracy == ended.accuracy
    assert [[epoch.train_loss for epoch in history] for history in asked] == [
        [epoch.train_loss for epoch in whole.history[:n]] for n in (1, 2)
    ]
    assert [history[-1].accuracy for history in asked] == [None, None]


def test_asking_after_each_pass_changes_nothing(blobs: ImageData, tiny: Architecture) -> None:
    two = dataclasses.replace(SHORT, epochs=3, seeds=2, validate_each_epoch=True)
    asked: list[float | None] = []
    whole = training(two, blobs).evaluate(tiny)
    watched = training(two, blobs).train(tiny, lambda h: asked.append(h[-1].accuracy))
    assert timeless(whole) == timeless(watched.evaluation)
    assert asked == [epoch.accuracy for epoch in whole.history[:2]]  # of the first seed alone


def test_one_that_was_ended_is_not_stored_for_others(
    tmp_path: Path, blobs: ImageData, tiny: Architecture
) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    store = RecordStore(db, "s")
    weights = WeightsFolder.of_study(db, "s")
    evaluator = StoredEvaluator(training(SHORT, blobs), store, weights, print)
    ended = evaluator.evaluate(tiny, lambda history: "enough")
    whole = evaluator.evaluate(tiny, lambda history: None)
    assert (ended.epochs, whole.epochs) == (1, 2)
    assert evaluator.evaluate(tiny, lambda history: "enough") == whole  # stored, so in full
    db.close()


def test_a_training_whose_weights_cannot_be_saved_counts_and_is_said_once(
    tmp_path: Path, blobs: ImageData, tiny: Architecture
) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    folder = tmp_path / "file" / "weights"
    folder.parent.touch()
    steps: list[int] = []
    said: list[str] = []
    how = dataclasses.replace(training(SHORT, blobs), progress=lambda done, _: steps.append(done))
    evaluator = StoredEvaluator(how, RecordStore(db, "s"), WeightsFolder(folder), said.append)
    found = evaluator.evaluate(tiny)
    taken = len(steps)
    assert evaluator.evaluate(tiny) == found
    assert len(steps) == taken > 0
    evaluator.evaluate(dataclasses.replace(tiny, head=tiny.head + 8))
    assert said == [
        f"weights cannot be saved in {folder}: Not a directory; "
        "an export of such a network trains it again"
    ]
    db.close()
