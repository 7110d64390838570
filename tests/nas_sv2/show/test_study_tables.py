"""Tables for people: no figure under another's provenance or another's name."""

import dataclasses
import io
from pathlib import Path

from doubles import latency_of, record_of
from optuna import load_study
from rich.console import Console, RenderableType
from scripted_study import SPACE, ScriptedStudy

from nas_sv2.database.database import Database
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.search.replay import Replayed
from nas_sv2.show.study_tables import (
    front_data,
    front_notes,
    front_table,
    moves_notes,
    moves_table,
    replay_data,
    studies_data,
    studies_table,
    study_notes,
    study_table,
)
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.findings.attributes import IDENTITY, TIMED_AND_TRAINED
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.findings.replay_comparison import compare
from nas_sv2.studies.findings.timed_and_trained import Form, TimedAndTrained
from nas_sv2.studies.storage.catalog import list_studies
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.study import optuna_storage

NETWORKS = [reference(f"shufflenet_v2_x{size}") for size in ("0_5", "1_0", "1_5", "2_0")]


def text_of(table: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(table)
    return file.getvalue()


def emulated(ms: float) -> Latency:
    plain = dataclasses.replace(latency_of(ms), provenance="emulated", note="by a table")
    return dataclasses.replace(plain, ci_ms=None, p95_ms=None, device="a core", ratio=None)


def mixed() -> dict[int, Record]:
    """Three on the front: two were measured, between them one was emulated."""
    records = {
        number: record_of(0.5 + number / 10, number + 1.0, architecture=NETWORKS[number])
        for number in range(3)
    }
    records[1] = dataclasses.replace(records[1], latencies={"t0": emulated(2.0)})
    return records


def test_a_column_names_every_provenance_and_each_row_its_own() -> None:
    lines = text_of(front_table(Front(mixed()))).splitlines()
    assert "(measured and emulated)" in lines[1]
    shown = {line.split()[0]: line for line in lines[2:]}
    assert [name for name in ("measured", "emulated") if name in shown["1"]] == ["emulated"]
    assert all("measured" in shown[number] for number in "02")
    notes = front_notes(Front(mixed()), None)
    assert "a core · emulated" in notes and "t0: by a table" in notes
    assert sum(note.endswith("· measured") for note in notes) == 1


def test_of_one_provenance_the_head_says_it_all() -> None:
    records = {0: record_of(0.5, 1.0), 1: record_of(0.6, 2.0, architecture=NETWORKS[1])}
    table = text_of(front_table(Front(records)))
    assert table.count("measured") == 1


def test_finished_trials_beyond_the_budget_are_named_with_their_limits() -> None:
    records = {
        0: record_of(0.9, 1.0, excess=0.2, baseline="V2 1x"),
        1: record_of(0.5, 1.0, architecture=NETWORKS[1]),
        2: dataclasses.replace(record_of(0.4, 1.0), excesses={"flops": 0.1, "t0_ms": 0.3}),
        3: dataclasses.replace(record_of(0.4, 1.0), excesses={"flops": 0.0, STOP_RULE: 1.0}),
    }
    assert (
        "beyond the budget, finished but never on the front: trials 0 (flops), 2 (flops, t0_ms)"
        in front_notes(Front(records), None)
    )
    within = {number: records[number] for number in (1, 3)}
    assert "beyond" not in str(front_notes(Front(within), None))


def test_uneven_classes_have_a_column_and_a_note_and_even_ones_none() -> None:
    even = {0: record_of(0.9901, 1.0)}
    evaluation = dataclasses.replace(
        even[0].evaluation, balanced_accuracy=0.5, majority=0.996, classes=2, val_images=502
    )
    uneven = {0: dataclasses.replace(even[0], evaluation=evaluation)}
    assert "balanced" not in text_of(front_table(Front(even))) + str(
        front_notes(Front(even), None)
    )
    table = text_of(front_table(Front(uneven)))
    assert "balanced" in table and "99.01%" in table and "50.00%" in table
    assert "50.00%" in str(Front(uneven)) and "50.00%" in Front(uneven)._repr_html_()
    (note,) = (
        note for note in front_notes(Front(uneven), None) if note.startswith("uneven classes")
    )
    assert "99.60% of the 502 validation images are of one class" in note
    assert Front(uneven).to_json()[0]["balanced_accuracy"] == 0.5


def replayed(count: int, scored_by: str = "accuracy") -> Replayed:
    def records(factor: float) -> dict[int, Record]:
        found = {}
        for number in range(count):
            network = dataclasses.replace(NETWORKS[number % 4], head=512 + 8 * number)
            record = record_of(0.5, factor * (number + 1), architecture=network)
            evaluation = dataclasses.replace(
                record.evaluation, scored_by=scored_by, scores=(-1.25,)
            )
            found[number] = dataclasses.replace(record, evaluation=evaluation)
        return found

    new = Front(records(2.0))
    return Replayed("s", new, compare(Front(records(1.0)), new, "t0", "t0"), (), ())


def test_a_replay_shows_what_its_study_compares_by() -> None:
    assert "cross-entropy" not in text_of(moves_table(replayed(4).comparison))
    table = text_of(moves_table(replayed(4, "cross_entropy").comparison))
    assert "cross-entropy" in table.splitlines()[0]
    assert table.count("1.2500 nats") == 4
    (first, *_) = replay_data(replayed(4, "cross_entropy"))["networks"]
    assert (first["scored_by"], first["score"]) == ("cross_entropy", -1.25)


def test_few_networks_have_no_interval() -> None:
    """1.00 to 1.00, as resampling says of four networks in one order, is no 95 %."""
    (said,) = (note for note in moves_notes(replayed(4)) if "Kendall" in note)
    assert "τ 1.00 (no interval, under 8 networks)" in said and "95 %" not in said
    assert replay_data(replayed(4))["kendall"] == {"value": 1.0, "low": None, "high": None}
    (said,) = (note for note in moves_notes(replayed(9)) if "Kendall" in note)
    assert "τ 1.00 (no interval, all resamples alike)" in said


def test_an_accuracy_of_a_proxy_is_called_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    ScriptedStudy(url).all(found=0)
    old = read_study(Database.open(url), "told")
    forms = TimedAndTrained(Form.of(SPACE), Form(28, 1, 10, 2, False))
    kept = {"timed_and_trained": forms.to_json()}
    proxy = dataclasses.replace(old, identity={**old.identity, **kept})
    assert front_data(old)["timed_and_trained"] is None
    assert study_notes(old)[0].startswith("timed and trained: not known")
    assert "proxy" not in text_of(front_table(old.front)) + text_of(study_table(old))
    told = front_data(proxy)["timed_and_trained"]
    assert (told["is_proxy"], told["trained"]["resolution"]) == (True, 28)
    assert study_notes(proxy)[0] == forms.describe(proxy.figure)
    assert "(proxy)" in text_of(front_table(proxy.front)) and "proxy" in str(proxy.front)
    assert "% of a proxy" in text_of(study_table(proxy))


def test_the_list_of_studies_marks_an_accuracy_of_a_proxy(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    ScriptedStudy(url).all(found=2)
    (old,) = list_studies(Database.open(url))
    assert old.best is not None and not old.is_proxy
    forms = TimedAndTrained(Form.of(SPACE), Form(28, 1, 10, 2, False))
    stored = load_study(study_name="told", storage=optuna_storage(Database.open(url)))
    kept = {TIMED_AND_TRAINED: forms.to_json()}
    stored.set_user_attr(IDENTITY, {**stored.user_attrs[IDENTITY], **kept})
    (proxy,) = list_studies(Database.open(url))
    assert "(proxy)" in text_of(studies_table([proxy])).replace("\n", " ")
    assert "proxy" not in text_of(studies_table([old]))
    assert [each["best_is_of_a_proxy"] for each in studies_data([old, proxy])] == [False, True]
