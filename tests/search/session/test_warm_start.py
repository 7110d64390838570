"""Networks that are asked first: of the user's own, and of another study."""

import dataclasses
from pathlib import Path

import pytest
from doubles import record_of, small_space
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.warm_start import open_warm_start, read_start
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.documents import architecture_to_yaml
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.runs import command_of
from nas_sv2.studies.storage.study import create_or_resume, study_key

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
    with pytest.raises(ConfigError, match="nowhere"):
        read_start(tmp_path / "nowhere.yaml", SPACE)


def test_the_front_of_a_study_is_asked_and_what_is_outside_is_told(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 's.db'}")
    db.migrate()
    study = create_or_resume(db, "first", {"targets": {"fake": "measured"}}, RandomSampler(seed=0))
    store = RecordStore(db, study_key(study))
    store.save(2, record_of(0.9, 3.0, architecture=OTHER_INPUT))
    store.save(4, record_of(0.8, 2.0, architecture=OUTSIDE))
    store.save(5, record_of(0.1, 9.0, architecture=dataclasses.replace(POINT, head=16)))
    own = dataclasses.replace(POINT, stages=(Stage(1, 16),))
    found = open_warm_start((own, POINT), "first", SPACE, db)
    assert found.params == [SPACE.params_of(own), SPACE.params_of(POINT)]
    assert found.described[:2] == (
        "start     2 networks of your own",
        "start     1 network from the front of first",
    )
    (left,) = found.described[2:]
    assert "left out, no point of space small: first:4: head must be from 16 to 32" in left
    with pytest.raises(ConfigError, match=r"study .*; got 'nobody'"):
        open_warm_start((), "nobody", SPACE, db)
    db.close()


def test_a_plan_keeps_the_words_and_refuses_its_own_study(tmp_path: Path) -> None:
    file = str(file_of(POINT, tmp_path / "own.yaml"))
    plan = plan_search("arm", space=SPACE, warm_start="first", start=[file, POINT])
    assert plan.start == (POINT, POINT)
    assert f"--from first --start {file}" in command_of(plan.words)
    with pytest.raises(ConfigError, match="warm_start must be another study than this; got 'a'"):
        plan_search("arm", warm_start="a", study="a")
