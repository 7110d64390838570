import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from doubles import evaluation_of, record_of
from optuna.samplers import RandomSampler
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, NasError, StoreError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.named_networks import find_network
from nas_sv2.studies.storage.named_networks import record_of as found_record
from nas_sv2.studies.storage.places import evaluator_place, note_evaluator
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, load_study, store_errors, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder

IDENTITY = {"space": "140M", "space_digest": "1", "targets": {"arm": "emulated"}, "seed": 0}


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture
def db(storage: str) -> Iterator[Database]:
    db = Database.open(storage)
    db.migrate()
    yield db
    db.close()


def test_records_are_kept_by_study_and_found_by_digest(db: Database) -> None:
    ours, theirs = RecordStore(db, "ours"), RecordStore(db, "theirs")
    first, second = record_of(0.5, 1.0), record_of(0.7, 2.0)
    ours.save(3, first)
    assert ours.find(first.architecture.digest) == (3, first)
    assert theirs.find(first.architecture.digest) is None
    ours.save(5, second)  # the same architecture, told by a later trial
    assert ours.all() == {5: second}


def test_only_what_is_new_or_changed_is_read_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = Record.from_json

    def counted(text: str) -> Record:
        reads.append(text)
        return read(text)

    monkeypatch.setattr(Record, "from_json", counted)
    ours, theirs = RecordStore(db, "s"), RecordStore(db, "s")
    networks = [reference(f"shufflenet_v2_x{size}") for size in ("0_5", "1_0", "1_5")]
    records = [record_of(0.5, 1.0, architecture=network) for network in networks]
    for number, record in enumerate(records):
        theirs.save(number, record)
        assert ours.all() == dict(enumerate(records[: number + 1]))
    assert len(reads) == 3
    better = record_of(0.9, 1.0, architecture=networks[0])
    theirs.save(7, better)  # the lowest of the rows
    assert ours.all() == {1: records[1], 2: records[2], 7: better}
    assert len(reads) == 4
    assert theirs.all() == ours.all()


def test_two_that_end_the_same_training_at_once_keep_one(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = RecordStore(db, "ours"), RecordStore(db, "theirs")
    monkeypatch.setattr(RecordStore, "find_evaluation", lambda *arguments: None)
    first.save_evaluation("digest", evaluation_of(0.5))
    second.save_evaluation("digest", evaluation_of(0.5))
    with db.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM nas_evaluations")).scalar() == 1


def test_evaluations_are_shared_by_studies_and_kept_apart_by_what_they_depend_on(
    db: Database,
) -> None:
    evaluation = evaluation_of(0.5)
    RecordStore(db, "ours").save_evaluation("digest", evaluation)
    key = (evaluation.recipe_digest, evaluation.data, evaluation.seed, evaluation.device)
    theirs = RecordStore(db, "theirs")
    assert theirs.find_evaluation("digest", *key) == evaluation
    assert theirs.find_evaluation("other", *key) is None
    assert theirs.find_evaluation("digest", *key[:2], 1, key[3]) is None
    assert theirs.find_evaluation("digest", *key[:3], "cpu, 9 threads") is None
    theirs.save_evaluation("digest", evaluation)  # as a second search at the same time would


def test_a_damaged_evaluation_counts_as_none_and_is_said(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise its network would fail in every search, and nothing removes the row."""
    store, evaluation = RecordStore(db, "ours"), evaluation_of(0.5)
    store.save_evaluation("digest", evaluation)
    with db.begin() as connection:
        connection.execute(text("UPDATE nas_evaluations SET document = '{'"))
    key = (evaluation.recipe_digest, evaluation.data, evaluation.seed, evaluation.device)
    assert store.find_evaluation("digest", *key) is None
    assert "network digest is trained again by recipe 0000000000000000" in caplog.text
    store.save_evaluation("digest", evaluation)  # of the new training
    assert store.find_evaluation("digest", *key) == evaluation


def test_a_damaged_evaluation_of_data_elsewhere_is_replaced_too(db: Database) -> None:
    store, evaluation = RecordStore(db, "ours"), replace(evaluation_of(0.5), data="npz:/a@0a1b")
    store.save_evaluation("digest", evaluation)
    with db.begin() as connection:
        connection.execute(text("UPDATE nas_evaluations SET document = '{'"))
    moved = replace(evaluation, data="npz:/b@0a1b")
    store.save_evaluation("digest", moved)
    key = (evaluation.recipe_digest, evaluation.data, evaluation.seed, evaluation.device)
    assert store.find_evaluation("digest", *key) == moved


def test_an_evaluation_is_that_of_the_same_images_wherever_they_lie(db: Database) -> None:
    evaluation = replace(evaluation_of(0.5), data="imagefolder:/here@0a1b")
    store = RecordStore(db, "ours")
    store.save_evaluation("digest", evaluation)

    def found(data: str) -> Evaluation | None:
        return store.find_evaluation("digest", evaluation.recipe_digest, data, 0, "cpu")

    assert found("imagefolder:/there@0a1b") == found("npz:/a@b%_.npz@0a1b") == evaluation
    assert found("imagefolder:/here@0a1c") is None
    assert found("imagefolder:/there@a1b") is None
    store.save_evaluation("digest", replace(evaluation, data="npz:/there@0a1b", accuracy=0.6))
    assert found("npz:/there@0a1b") == evaluation


def test_a_study_is_made_once_and_resumed(storage: str) -> None:
    study = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    study.enqueue_trial({"x": 1})
    assert study_key(study) == study_key(load_study(Database.open(storage), "s"))
    again = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    assert len(again.get_trials()) == 1
    assert [d.name for d in again.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert again.metric_names == ["top-1 accuracy", "arm latency (ms, emulated)"]


@pytest.mark.parametrize(
    ("key", "value"), [("space_digest", "2"), ("targets", {"arm": "measured"}), ("seed", 1)]
)
def test_a_study_that_asks_another_question_is_refused(
    storage: str, key: str, value: object
) -> None:
    create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()).ask()
    with pytest.raises(ConfigError, match=f"begun with {key.removesuffix('_digest')}"):
        create_or_resume(Database.open(storage), "s", {**IDENTITY, key: value}, RandomSampler())


def test_of_many_studies_the_nearest_names_are_told(storage: str) -> None:
    for number in range(8):
        optuna.create_study(storage=storage, study_name=f"phones-{number}")
    with pytest.raises(ConfigError, match=r"studies.db: phones-0, phones-1, .*, phones-7; got"):
        load_study(Database.open(storage), "phone-3")
    optuna.create_study(storage=storage, study_name="boards")
    with pytest.raises(ConfigError, match=r"studies.db: phones-3, .*, 9 in all, see .*list; got"):
        load_study(Database.open(storage), "phone-3")


def test_a_study_whose_process_died_before_its_first_trial_is_begun_again(storage: str) -> None:
    optuna.create_study(storage=storage, study_name="s", directions=["maximize", "minimize"])
    first = study_key(create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()))
    other = create_or_resume(Database.open(storage), "s", {**IDENTITY, "seed": 1}, RandomSampler())
    assert study_key(other) != first
    assert load_study(Database.open(storage), "s").user_attrs["nas_sv2"]["seed"] == 1


def test_who_joins_before_the_first_trial_shares_the_key(storage: str) -> None:
    first = study_key(create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()))
    assert (
        study_key(create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()))
        == first
    )


def test_a_deleted_study_leaves_nothing_to_the_next_of_its_name(storage: str) -> None:
    first = study_key(create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()))
    optuna.delete_study(study_name="s", storage=storage)
    assert (
        study_key(create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler()))
        != first
    )


@pytest.mark.parametrize("url", ["nonsense", "foo://x", "sqlite:///text.db"])
def test_reading_what_is_no_database_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one " * 10)
    said = "^/.*/text.db is not an SQLite database" if "text" in url else "storage must"
    with pytest.raises(NasError, match=said) as caught:
        load_study(Database.open(url), "s")
    assert len(str(caught.value).splitlines()) == 1


def test_a_foreign_study_is_refused(storage: str) -> None:
    optuna.create_study(storage=storage, study_name="s").ask()
    with pytest.raises(ConfigError, match="not nas-sv2's"):
        create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    with pytest.raises(ConfigError, match="`nas-sv2 search` made"):
        load_study(Database.open(storage), "s")


def test_reading_makes_no_database(storage: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_study(Database.open(storage), "s")
    assert not list(tmp_path.iterdir())


def test_a_missing_study_names_those_that_are_there(storage: str) -> None:
    create_or_resume(Database.open(storage), "mine", IDENTITY, RandomSampler())
    with pytest.raises(ConfigError, match="mine"):
        load_study(Database.open(storage), "yours")


def test_architectures_are_found_by_reference_file_and_trial(
    storage: str, db: Database, tmp_path: Path
) -> None:
    study = create_or_resume(Database.open(storage), "a:b", IDENTITY, RandomSampler())
    record = record_of(0.5, 1.0)
    RecordStore(db, study_key(study)).save(3, record)
    assert find_network("a:b:3", db).network == record.architecture
    assert find_network("shufflenet_v2_x1_0", db).name == "shufflenet_v2_x1_0"
    with pytest.raises(ConfigError, match="a finished trial of a:b: 3"):
        found_record(db, "a:b", 4)
    with pytest.raises(ConfigError, match="No such file"):
        find_network(str(tmp_path / "none.yaml"), db)


def test_weights_are_whole_or_not_there_and_only_the_front_is_kept(tmp_path: Path) -> None:
    folder = WeightsFolder.of_study(Database.open(f"sqlite:///{tmp_path / 'x.db'}"), "key")
    weights = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    for digest in ("a", "b"):
        folder.save(digest, weights)
    found = folder.find("a")
    assert found is not None
    assert np.array_equal(found["w"], weights["w"])
    folder.drop(["a", "never kept"])
    assert folder.find("a") is None
    assert [file.name for file in folder.path.iterdir()] == ["b.safetensors"]
    assert folder.path == tmp_path / "x.db.weights" / "key"


def test_a_reference_needs_no_database(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'none.db'}")
    assert find_network("shufflenet_v2_x0_5", db).network == reference("shufflenet_v2_x0_5")


def test_database_faults_are_one_line_and_other_faults_stay_bugs() -> None:
    with pytest.raises(StoreError, match="disk is full"), store_errors():
        raise OperationalError("INSERT", {}, Exception("disk is full\nmore"))
    with pytest.raises(RuntimeError, match="shapes"), store_errors():
        raise RuntimeError("shapes do not match")  # as torch would


def test_where_an_evaluator_lies_is_no_part_of_the_question(storage: str) -> None:
    """Older versions kept its folder in the identity; their studies go on wherever it is now."""
    asked = {"supernet": "d1"}
    for name, began in (("old", {**asked, "folder": "/before"}), ("new", asked)):
        study = create_or_resume(
            Database.open(storage), name, {**IDENTITY, "evaluator": began}, RandomSampler()
        )
        study.ask()
        before = evaluator_place(study)
        assert before == (Path("/before") if "folder" in began else None)
        note_evaluator(study, Path("/now"))
        assert evaluator_place(study) == Path("/now")
        for again in (asked, {**asked, "folder": "/elsewhere"}):
            wanted = {**IDENTITY, "evaluator": again}
            assert create_or_resume(Database.open(storage), name, wanted, RandomSampler()).trials
        with pytest.raises(ConfigError, match="evaluator supernet d1, not supernet d2"):
            other = {**IDENTITY, "evaluator": {"supernet": "d2"}}
            create_or_resume(Database.open(storage), name, other, RandomSampler())


def resumed(storage: str, **changed: object) -> None:
    """Begin a study, and resume it with a changed identity."""
    document = {"name": "mine", "epochs": 3, "augment": {"flip": True}}
    begun = {**IDENTITY, "recipe": "mine", "recipe_digest": "a", "recipe_document": document}
    study = create_or_resume(Database.open(storage), "s", begun, RandomSampler())
    study.ask()
    create_or_resume(Database.open(storage), "s", {**begun, **changed}, RandomSampler())


def test_a_refusal_names_what_changed_and_no_digest(storage: str) -> None:
    document = {"name": "mine", "epochs": 5, "augment": {"flip": False}}
    with pytest.raises(ConfigError) as refused:
        resumed(storage, recipe_digest="b", recipe_document=document)
    said = str(refused.value)
    assert "recipe epochs 3, not 5; augment.flip true, not false" in said
    assert "trainings are kept" in said
    assert '"a"' not in said


def test_the_content_of_the_data_is_not_blamed_for_the_side_of_a_recipe(tmp_path: Path) -> None:
    document = {"name": "mine", "epochs": None, "augment": {"flip": True}}
    with pytest.raises(ConfigError, match="begun with recipe epochs 3, not none;"):
        resumed(
            f"sqlite:///{tmp_path / 's.db'}",
            data_content="imagefolder:x@1",
            recipe_digest="b",
            recipe_document=document,
        )


def test_a_space_of_which_only_the_digest_is_known_has_changed(storage: str) -> None:
    with pytest.raises(ConfigError, match="begun with space of other content"):
        resumed(storage, space_digest="2", space_document={"head": 3})


@pytest.mark.parametrize(
    ("first", "then"), [({"train_on": "cuda"}, {}), ({}, {"train_on": "cuda"})]
)
def test_another_processor_is_another_question(
    storage: str, first: dict[str, str], then: dict[str, str]
) -> None:
    begun, other = {**IDENTITY, **first}, {**IDENTITY, **then}
    create_or_resume(Database.open(storage), "s", begun, RandomSampler()).ask()
    with pytest.raises(ConfigError, match="begun with train_on"):
        create_or_resume(Database.open(storage), "s", other, RandomSampler())


def test_many_changes_are_counted(storage: str) -> None:
    document = {name: 1 for name in "abcdefg"}
    with pytest.raises(ConfigError, match="and 6 more"):
        resumed(storage, recipe_digest="b", recipe_document=document)


@pytest.mark.parametrize(
    "key", ["../../elsewhere", "/etc", "", "A" * 32, "0" * 31, 7, [], {"a": 1}]
)
def test_a_key_that_is_no_key_never_becomes_a_path(storage: str, key: object) -> None:
    study = create_or_resume(Database.open(storage), "s", IDENTITY, RandomSampler())
    study.set_user_attr("nas_sv2", {**IDENTITY, "key": key})
    with pytest.raises(StoreError, match="32 hexadecimal digits"):
        study_key(load_study(Database.open(storage), "s"))


@pytest.mark.parametrize("kept", [0, 4, 20])
def test_damaged_weights_count_as_not_kept(tmp_path: Path, kept: int) -> None:
    folder = WeightsFolder(tmp_path)
    folder.save("a", {"stem": np.ones(3, np.float32)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:kept])
    assert folder.find("a") is None
    assert folder.why_none("a") == "the file of its weights is damaged"
    assert folder.why_none("b") == "its weights were not kept"


def test_colleagues_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        WeightsFolder(tmp_path).save("a", {"stem": np.ones(3, np.float32)})
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "name",
    ["my.onnx", "MY.ONNX", "net.pt", "net.tflite", "winner", "winner/model.onnx", "no/where"],
)
@pytest.mark.parametrize("exists", [True, False])
def test_what_is_no_description_is_refused_by_saying_what_is_taken(
    name: str, exists: bool, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "winner").mkdir()
    (tmp_path / "winner" / "architecture.yaml").touch()
    if exists and not Path(name).exists():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    with pytest.raises(ConfigError, match=r"\.yaml, \.yml, \.json; .* not taken") as caught:
        find_network(name, db)
    assert ("winner/architecture.yaml is one" in str(caught.value)) == name.startswith("winner")


def test_a_name_that_is_no_path_gets_the_closest_names(db: Database) -> None:
    with pytest.raises(ConfigError, match="shufflenet_v2_x0_5"):
        find_network("shufflenet_v2_x05", db)
