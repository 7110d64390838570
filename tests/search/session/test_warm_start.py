"""Networks that are asked first: of the user's own, and of another study."""

import dataclasses
from pathlib import Path

import pytest
from doubles import record_of, small_space
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.warm_start import WarmStart, begun_from, read_start
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.catalog import delete_study
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import command_of
from nas_sv2.studies.storage.study import create_or_resume, load_study, study_key

SPACE = small_space()
POINT = Architecture((8,), (Stage(2, 24),), 32, resolution=32, classes=10)
OTHER_INPUT = dataclasses.replace(POINT, resolution=64, classes=1000, stem_pool=False)
OUTSIDE = dataclasses.replace(POINT, head=48)


def file_of(network: Architecture, path: Path) -> Path:
    path.write_text(architecture_to_yaml(network))
    return path


def test_files_packages_and_objects_take_the_form_of_the_space(tmp_path: Path) -> None:
    file_of(OTHER_INPUT, tmp_path / "architecture.yaml")  # as in a package
    for start in (tmp_path, str(tmp_path / "architecture.yaml"), OTHER_INPUT, POINT):
        assert read_start([start], SPACE) == (POINT,)
    assert read_start(POINT, SPACE) == (POINT,)


def test_a_network_that_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    outside = file_of(OUTSIDE, tmp_path / "outside.yaml")
    with pytest.raises(ConfigError, match=r"start must be a point of space small: head .*yaml"):
        read_start(str(outside), SPACE)
    two = dataclasses.replace(POINT, stages=(*POINT.stages, Stage(1, 64)))
    with pytest.raises(ConfigError, match=r"start must be a point of space small: .*must be"):
        read_start(two, SPACE)
    other = tmp_path / "other.yaml"
    other.write_text("nas_sv2_network: 1\nname: mobilenet_v2_x1_0\n")
    with pytest.raises(ConfigError, match="start must describe a network of ShuffleNet V2 units"):
        read_start(other, SPACE)
    with pytest.raises(ConfigError, match=r"^start must be a readable file .*nowhere"):
        read_start(tmp_path / "nowhere.yaml", SPACE)
    (binary := tmp_path / "model.onnx").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"^start must be YAML or JSON .*model\.onnx"):
        read_start(binary, SPACE)


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """A database with the study `first`, and the study `second` that is begun from it."""
    found = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    found.migrate()
    for name in ("first", "second"):
        create_or_resume(found, name, {"targets": {"fake": "measured"}}, RandomSampler(seed=0))
    store = RecordStore(found, study_key(load_study(found, "first")))
    store.save(2, record_of(0.9, 3.0, architecture=OTHER_INPUT))
    store.save(4, record_of(0.8, 2.0, architecture=OUTSIDE))
    store.save(5, record_of(0.1, 9.0, architecture=dataclasses.replace(POINT, head=16)))
    return found


def test_the_front_of_a_study_is_asked_and_what_is_outside_is_told(db: Database) -> None:
    own = dataclasses.replace(POINT, stages=(Stage(1, 16),))
    other = begun_from("first", load_study(db, "second"), db)
    found = WarmStart.of((own, POINT), other, SPACE)
    assert found.params == [SPACE.params_of(own), SPACE.params_of(POINT)]
    assert found.described[:2] == (
        "start     2 networks of your own",
        "start     1 network from the front of first; first has too few alike trainings to inform "
        "the estimates",
    )
    (left,) = found.described[2:]
    assert "left out, no point of space small: first:4: head must be from 16 to 32" in left
    assert found.informing is None
    with pytest.raises(ConfigError, match=r"^warm_start must be a study .*; got 'nobody'"):
        begun_from("nobody", load_study(db, "first"), db)


def test_a_study_that_grows_or_goes_changes_nothing_of_what_was_begun_from_it(
    db: Database,
) -> None:
    """Trainings of another form count too; one that was stopped does not."""
    store = RecordStore(db, study_key(load_study(db, "first")))
    for number, head in enumerate(range(17, 25), 10):
        network = dataclasses.replace(OTHER_INPUT, head=head)
        store.save(number, trained(0.5 + head / 100, network))
    store.save(20, trained(0.1, POINT, stopped="slow"))
    second = load_study(db, "second")
    before = begun_from("first", second, db)
    (told, *_) = WarmStart.of((), before, SPACE).described
    assert told.endswith("11 trainings of first inform the estimates")
    store.save(30, trained(0.99, dataclasses.replace(POINT, head=24)))
    delete_study(db, "first")
    assert begun_from("first", load_study(db, "second"), db) == before
    assert read_study(db, "second").begun_from == before


def test_a_study_is_resumed_with_the_study_that_it_was_begun_from(db: Database) -> None:
    identity = {"targets": {"fake": "measured"}}
    create_or_resume(db, "third", {**identity, "warm_start": "first"}, RandomSampler()).ask()
    for other in ({"warm_start": "second"}, {}):
        with pytest.raises(ConfigError, match=r"begun with warm_start .*first.*, not "):
            create_or_resume(db, "third", {**identity, **other}, RandomSampler())


def trained(accuracy: float, network: Architecture, stopped: str | None = None) -> Record:
    record = record_of(accuracy, 9.0, architecture=network)
    evaluation = dataclasses.replace(record.evaluation, train_images=9, stopped=stopped)
    return dataclasses.replace(record, evaluation=evaluation)


def test_a_plan_keeps_the_words_and_refuses_its_own_study(tmp_path: Path) -> None:
    file = str(file_of(POINT, tmp_path / "own.yaml"))
    plan = plan_search("arm", space=SPACE, warm_start="first", start=[file, POINT])
    assert plan.start == (POINT, POINT)
    assert f"--from first --start {file}" in command_of(plan.words)
    with pytest.raises(ConfigError, match="warm_start must be another study than this; got 'a'"):
        plan_search("arm", warm_start="a", study="a")
    assert plan_search("arm", warm_start="a").study == "arm-animals-quick-from-a"
