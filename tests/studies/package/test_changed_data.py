"""An export of kept weights after the data of the study were changed, or went."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles import evaluation_of, record_of
from optuna.samplers import RandomSampler
from packages import RECIPE, TINY, data_in, images_file, winner_of

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.evaluator import trained_form
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.studies.package.build import Exported, export_trial
from nas_sv2.studies.package.card import CARD, CARD_JSON
from nas_sv2.studies.package.folder import SUMS
from nas_sv2.studies.package.forms import TORCH, TrainedNetwork
from nas_sv2.studies.package.verify import verify
from nas_sv2.studies.storage.places import find_sample, keep_sample
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

Export = Callable[..., Exported]


def study_on(data: ImageData, db: Database, winner: TrainedNetwork) -> WeightsFolder:
    """A study `s` whose trial 0 has the weights of `winner`."""
    identity = {
        "targets": {"arm": "emulated"},
        "space": "tiny",
        "budget": {},
        "guidelines": {},
        "recipe": RECIPE.name,
        "space_digest": "0" * 16,
        "data": data.name,
        "data_content": data.provenance,
        "skip_unreadable": False,
        "recipe_document": recipe_to_document(RECIPE),
        "recipe_digest": RECIPE.digest,
        "seed": 0,
    }
    study = create_or_resume(db, "s", identity, RandomSampler(seed=0))
    db.migrate()
    accuracy = winner.checked({}).images[TORCH].accuracy
    assert accuracy is not None
    record = record_of(accuracy, architecture=TINY)
    assert record.evaluation == evaluation_of(accuracy)
    trial = study.ask()
    RecordStore(db, study_key(study)).save(trial.number, record)
    study.tell(trial, [accuracy, 1.0])
    folder = WeightsFolder.of_study(db, study_key(study))
    folder.save(TINY.digest, winner.weights)
    keep_sample(folder, data)
    return folder


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database.open(f"sqlite:///{tmp_path / 's.db'}")


def test_kept_weights_are_exported_whatever_became_of_the_data(
    tmp_path: Path, db: Database
) -> None:
    data = data_in(tmp_path)
    adapted = trained_form(TINY, RECIPE, data.resolution, data.channels, data.classes)
    winner = winner_of(data, TINY, trained=adapted)
    folder = study_on(data, db, winner)

    def export(out: str, data: str | None = None) -> list[str]:
        told: list[str] = []
        where = tmp_path / out
        export_trial(
            db, "s", "0", where, force=False, latency=False, data=data, notify=told.append
        )
        return told

    assert export("before") == ["running every form on 60 validation images"]
    file = Path(data.name.partition(":")[2])
    other = Path(images_file(tmp_path, seed=1).partition(":")[2]).rename(file)
    now = open_data(data.name).provenance
    assert export("after") == [
        f"the data of the study have changed since, and are {now} now; the kept weights are "
        "exported, with class names, mean and deviation as kept by the search",
        "running every form on 100 training images that the study kept",
    ]
    other.unlink()
    assert export("without")[0].startswith(
        f"the data of the study cannot be opened ({data.name} must be npz:FILE of a file"
    )
    differing = {SUMS, CARD, CARD_JSON}
    for name in {each.name for each in (tmp_path / "before").iterdir()} - differing:
        content = (tmp_path / "before" / name).read_bytes()
        assert content == (tmp_path / "after" / name).read_bytes()
        assert content == (tmp_path / "without" / name).read_bytes()
    before, after = (
        json.loads((tmp_path / n / CARD_JSON).read_text()) for n in ("before", "after")
    )
    assert [after[each] for each in ("input", "class_names", "data")] == [
        before[each] for each in ("input", "class_names", "data")
    ]
    assert after["forms"][TORCH]["accuracy"] is None and after["by_class"] is None
    assert "top-1 was not measured again" in (tmp_path / "after" / CARD).read_text()
    assert all(check.holds for check in verify(tmp_path / "after"))

    with pytest.raises(ConfigError, match=r"^data must be npz:FILE of a file that exists"):
        export("named", data.name)  # the user says that these are the data
    folder.drop([TINY.digest])
    with pytest.raises(ConfigError, match=r"^data of the study must be npz:FILE.* were not kept"):
        export("trained")  # again, for which the images are needed


def test_a_sample_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder, data = WeightsFolder(tmp_path / "w"), data_in(tmp_path, channels=1)
    assert find_sample(folder) is None
    keep_sample(folder, data)
    found, wanted = find_sample(folder), DataSample.of(data)
    assert found is not None
    for name in ("images", "mean", "deviation"):
        assert getattr(found, name).equal(getattr(wanted, name))
    facts = [
        (each.provenance, each.class_names, each.resolution, each.fit) for each in (found, wanted)
    ]
    assert facts[0] == facts[1] and found.channels == 1
    folder.data.write_bytes(folder.data.read_bytes()[:-1])
    assert find_sample(folder) is None
