"""Measurements that move between stores, and files that are not what they say."""

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import FACTS, PLAN, ROUNDS, measurement_of, samples_of
from sqlalchemy import text

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.latency.measurements import exchange
from nas_sv2.latency.measurements.exchange import (
    Counts,
    check_file,
    difference,
    export_lines,
    figures_of,
    merge,
    read_file,
    stored_measurements,
    write_file,
)
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.measurement_check import OtherSchema, read_measurement
from nas_sv2.latency.measurements.store import MeasurementStore

ONE = measurement_of()
OTHER_NETWORK = measurement_of(architecture="fedcba9876543210")
LATER = measurement_of(samples_of([3.3] * ROUNDS), session="b")
MANY = [ONE, OTHER_NETWORK, LATER]
HEADER = '{"nas_sv2_measurements": 1, "measurement_schema": 3}'

Open = Callable[[str], MeasurementStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    stores: list[MeasurementStore] = []

    def open_store(name: str) -> MeasurementStore:
        stores.append(MeasurementStore(Database.open(f"sqlite:///{tmp_path / name}.db")))
        return stores[-1]

    yield open_store
    for store in stores:
        store.db.close()


def line_of(measurement: Measurement) -> str:
    return json.dumps(measurement.to_json())


def file_of(folder: Path, *measurements: Measurement) -> Path:
    file = folder / "moved.jsonl"
    file.write_text("\n".join([HEADER, *map(line_of, measurements)]) + "\n")
    return file


def all_of(store: MeasurementStore) -> list[Measurement]:
    return list(stored_measurements(store, Counts()))


def test_from_one_store_to_another_and_back(opened: Open, tmp_path: Path) -> None:
    first, second = opened("first"), opened("second")
    first.save_all(MANY)
    counts, file = Counts(), tmp_path / "moved.jsonl"
    write_file(export_lines(first, counts), file)
    assert (counts.taken, counts.skipped) == (3, 0)
    assert json.loads(file.read_text().splitlines()[0]) == json.loads(HEADER)
    second.save(LATER)
    counts = merge(file, second)
    assert (counts.taken, counts.known) == (2, 1)
    assert sorted(map(line_of, all_of(second))) == sorted(map(line_of, MANY))
    counts = merge(file, second)
    assert (counts.taken, counts.known) == (0, 3)  # again: nothing happens
    assert merge(file, first).taken == 0


times = st.floats(1e-3, 1e6)
texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    count = draw(st.integers(1, 30))
    wall = tuple(draw(times) for _ in range(count))
    cpu = tuple(time * draw(st.floats(0.01, 1)) for time in wall)
    switches = draw(st.none() | st.lists(st.integers(0, 3), min_size=count, max_size=count))
    rounds = tuple(sorted(draw(st.integers(0, 9)) for _ in range(count)))
    samples = ONE.samples._replace(
        wall=wall, cpu=cpu, rounds=rounds, switches=None if switches is None else tuple(switches)
    )
    plan = dataclasses.replace(PLAN, batch=draw(st.integers(1, 2)), seed=draw(st.integers(0, 1)))
    return measurement_of(
        samples,
        session=draw(texts),
        architecture=draw(texts),
        plan=plan,
        facts={**FACTS, "cpu": draw(texts), "governor": draw(st.none() | texts)},
        series=draw(st.dictionaries(texts, st.lists(times, min_size=1).map(tuple), max_size=2)),
        heating=tuple(draw(st.lists(st.tuples(times, times), max_size=2))),
        conditions=tuple(draw(st.lists(st.dictionaries(texts, times), max_size=2))),
    )


@given(measurements())
def test_what_is_a_measurement_passes_unchanged(measurement: Measurement) -> None:
    assert read_measurement(line_of(measurement)) == measurement


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "\x1b[2J", "x" * 2000, "1/0", "2026-01-01", "a"])
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value within a document; of long lists only to the first and last."""
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = list(value)
    elif isinstance(value, list):
        inner = [0, len(value) - 1][: len(value)]
    return [(*at, key) for key in inner] + [
        place for key in inner for place in places(value[key], (*at, key))
    ]


FULL = measurement_of(
    series={"event_ms": (1.0, 2.0)},
    heating=((1.0, 2.0),),
    conditions=({"at_s": 0.0, "runnable": 1, "throttled": "50005"},),
).to_json()
FULL = json.loads(json.dumps(FULL))


@given(st.sampled_from(places(FULL)), junk, st.sampled_from(["set", "drop"]))
@settings(max_examples=400)
def test_a_damaged_value_is_refused_or_does_no_harm(
    place: tuple[Any, ...], value: object, how: str
) -> None:
    document = copy.deepcopy(FULL)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    if how == "set":
        holder[place[-1]] = value
    else:
        del holder[place[-1]]
    try:
        measurement = read_measurement(json.dumps(document))
    except ValueError as error:
        assert str(error)
        return
    latency = measurement.latency("cpu")  # every figure follows from it
    assert latency.ms > 0
    shown = f"{latency.device} {latency.note} {measurement.session} {measurement.architecture}"
    assert shown.isprintable()
    assert read_measurement(line_of(measurement)) == measurement


def changed(**values: object) -> str:
    return json.dumps({**FULL, **values})


def with_samples(**columns: object) -> str:
    return changed(samples={**FULL["samples"], **columns})


def with_facts(**facts: object) -> str:
    return changed(fingerprint={**FULL["fingerprint"], **facts})


def test_work_of_the_kernel_between_both_clocks_is_no_damage() -> None:
    """Runs of 10 µs; one was interrupted for 5 ms after the clock of CPU time was read."""
    measurement = read_measurement(with_samples(wall=[0.01] * 120, cpu=[5.0, *[0.01] * 119]))
    assert measurement.latency("cpu").ms == pytest.approx(0.01)


def without(name: str) -> str:
    return json.dumps({key: value for key, value in FULL.items() if key != name})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "Expecting value"),
        ("[]", "not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"schema": 2}', "required field"),
        (without("session"), "missing required field `session`"),
        (changed(colour="red"), "unknown field `colour`"),
        (changed(schema=1), "schema 1; this version reads 3"),
        (changed(schema="2"), "schema '2'"),
        (changed(architecture="../x"), "architecture"),
        (changed(session=""), "session"),
        (changed(session=7), "session"),
        (changed(measured_at="yesterday"), "measured_at"),
        (changed(measured_at="2026-01-01T00:00:00"), "measured_at"),
        (changed(stationary=1), "stationary"),
        (changed(warmup_runs=-1), "warmup_runs"),
        (changed(plan={"colour": 1}), "plan: plan.colour must be one of the keys"),
        (
            changed(plan={**FULL["plan"], "batch": 0}),
            "plan.batch must be a whole number",
        ),
        (changed(plan={**FULL["plan"], "affinity": 3}), "plan: "),
        (changed(plan={**FULL["plan"], "threads": 2}), "fingerprint.threads"),
        (changed(plan={**FULL["plan"], "reference": None}), "beside"),
        (changed(beside=None), "beside"),
        (changed(beside=["shufflenet_v2_x2_0", FULL["beside"][1]]), "beside"),
        (changed(beside=["shufflenet_v2_x1_0", {}]), "required field `wall` - at `$.beside[1]`"),
        (changed(conditions=[{"runnable": "many"}]), "conditions"),
        (changed(conditions=[{"throttled": "\x1b[2J"}]), "conditions"),
        (changed(series={"event_ms": []}), "series"),
        (with_samples(wall=[]), "samples.wall"),
        (with_samples(wall=[0.0] * 120), "samples.wall"),
        (with_samples(wall=[True] * 120), "samples.wall"),
        (with_samples(wall=["1"] * 120), "samples.wall"),
        (with_samples(wall=[1e300] * 120), "samples.wall"),
        (with_samples(cpu=[1.0] * 119), "samples.cpu"),
        (with_samples(cpu=[-1.0] * 120), "samples.cpu"),
        (with_samples(wall=[0.01] * 120, cpu=[0.12] * 120), "samples.cpu is longer than"),
        (with_samples(cpu=[0.0] * 120, switches=[1] * 120), "no figure follows"),
        (with_samples(switches=[0.5] * 120), "samples.switches"),
        (with_samples(rounds=list(range(120, 0, -1))), "samples.rounds"),
        (with_samples(colour=[]), "unknown field `colour` - at `$.samples`"),
        (with_facts(cpu="\x1b[2J"), "fingerprint.cpu"),
        (with_facts(cpu=["a"]), "fingerprint.cpu"),
        (with_facts(affinity="0-3"), "Expected `array`, got `str`"),
        (with_facts(runtime="torch"), "fingerprint.runtime"),
        (with_samples(wall=[float("nan")] * 120), "NaN is not a number"),
        (with_samples(wall=[float("inf")] * 120), "Infinity is not a number"),
    ],
)
def test_one_damaged_line_and_nothing_is_kept(
    opened: Open, tmp_path: Path, line: str, why: str
) -> None:
    store = opened("store")
    file = tmp_path / "moved.jsonl"
    file.write_text("\n".join([HEADER, line_of(ONE), line_of(LATER), line, line_of(ONE)]) + "\n")
    with pytest.raises(ConfigError) as caught:
        merge(file, store)
    said = str(caught.value)
    assert "moved.jsonl: line 4 must be a measurement" in said
    assert why in said
    assert "\x1b" not in said
    assert all_of(store) == []


def test_bytes_that_are_no_text_and_a_line_without_end(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "moved.jsonl"
    file.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"line 2 must .*codec can't decode"):
        merge(file, opened("store"))
    monkeypatch.setattr(exchange, "LONGEST_LINE", 200)
    with pytest.raises(ConfigError, match=r"line 2 must .*longer than 200 bytes"):
        merge(file_of(tmp_path, ONE), opened("store"))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("", "a file that `nas-sv2 db export` wrote"),
        ("ELF", "a file that `nas-sv2 db export` wrote"),
        ("[1]", "a file that `nas-sv2 db export` wrote"),
        (json.dumps(FULL), "a file that `nas-sv2 db export` wrote"),
        ("[" * 100_000, "a file that `nas-sv2 db export` wrote"),
        ('{"nas_sv2_measurements": 2}', "nas_sv2_measurements must be 1, as we read; got 2"),
        ('{"nas_sv2_measurements": 1}', "measurement_schema must be 2 or 3, as we read; got None"),
        (
            '{"nas_sv2_measurements": 1, "measurement_schema": 4}',
            "measurement_schema must be 2 or 3, as we read; got 4",
        ),
    ],
)
def test_files_that_are_none_of_ours(tmp_path: Path, header: str, why: str) -> None:
    file = tmp_path / "moved.jsonl"
    file.write_text(header)
    with pytest.raises(ConfigError) as caught:
        check_file(file)
    assert why in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for place in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(ConfigError, match="a file that can be read"):
            check_file(place)


def test_other_runs_under_a_known_session_are_refused(opened: Open, tmp_path: Path) -> None:
    store = opened("store")
    store.save(ONE)
    forged = measurement_of(samples_of([1.0] * ROUNDS))
    with pytest.raises(ConfigError, match=r"line 3 must .*other runs under its session"):
        merge(file_of(tmp_path, LATER, forged), store)
    assert all_of(store) == [ONE]


def test_copies_of_a_network_in_one_session_move_together(opened: Open, tmp_path: Path) -> None:
    store = opened("store")
    copy_of_it = measurement_of(samples_of([3.1] * ROUNDS))
    file = file_of(tmp_path, ONE, copy_of_it, ONE)
    counts = merge(file, store)
    assert (counts.taken, counts.known) == (2, 1)  # the same line twice is one measurement
    assert merge(file, store).known == 3


def test_what_another_version_left_in_a_database_is_counted_and_left_out(opened: Open) -> None:
    store = opened("store")
    store.save_all(MANY)
    with store.db.begin() as connection:
        connection.execute(
            text("UPDATE nas_measurements SET document = '{\"schema\": 1}' WHERE id = 1")
        )
        connection.execute(text("UPDATE nas_measurements SET document = '{' WHERE id = 2"))
    counts = Counts()
    assert len(list(export_lines(store, counts))) == 2
    assert (counts.taken, counts.skipped) == (1, 2)


def test_another_version_is_told_from_damage() -> None:
    with pytest.raises(OtherSchema, match="schema 1"):
        read_measurement(changed(schema=1))


def test_a_merge_into_a_store_with_damaged_rows(opened: Open, tmp_path: Path) -> None:
    store = opened("store")
    store.save(ONE)
    with store.db.begin() as connection:
        connection.execute(text("UPDATE nas_measurements SET document = '{}'"))
    assert merge(file_of(tmp_path, ONE), store).taken == 1


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "there.jsonl"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="a file that does not exist yet"):
        write_file(["x"], file)
    assert file.read_text() == "mine"
    with pytest.raises(ConfigError, match="a folder that exists"):
        write_file(["x"], tmp_path / "no" / "folder.jsonl")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[str]:
        yield HEADER
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(failing(), tmp_path / "part.jsonl")
    assert list(tmp_path.iterdir()) == []


def compared(one: Measurement, other: Measurement) -> tuple[str, str]:
    (found,) = difference(figures_of([one]), figures_of([other])).compared
    return found.ms, found.ratio


def test_a_slow_spell_is_another_ms_and_the_same_ratio() -> None:
    times = [1 + 0.001 * (number % 5) for number in range(ROUNDS)]
    quick = measurement_of(samples_of([3 * t for t in times]), samples_of([2 * t for t in times]))
    slow = measurement_of(
        samples_of([3.6 * t for t in times]), samples_of([2.4 * t for t in times]), session="b"
    )
    assert compared(quick, slow) == ("different", "equal")
    assert compared(quick, dataclasses.replace(quick, session="c")) == ("equal", "equal")
    another = measurement_of(samples_of([3.6 * t for t in times]), samples_of([2.0] * ROUNDS))
    assert compared(quick, another) == ("different", "different")


def test_without_intervals_nothing_is_said() -> None:
    few = measurement_of(samples_of([3.0]), samples_of([2.0]), session="b")
    assert compared(ONE, few) == ("unknown", "unknown")


def test_the_newest_figures_are_compared() -> None:
    new = dataclasses.replace(LATER, measured_at="2026-02-01T00:00:00+00:00")
    for order in ([ONE, new], [new, ONE]):
        (figures,) = figures_of(order).values()
        assert figures.session == "b"
        assert figures.ms[0] == pytest.approx(3.3)


def test_other_devices_and_plans_are_named_and_not_compared() -> None:
    board = measurement_of(facts={**FACTS, "cpu": "B board", "governor": "schedutil"})
    batch = measurement_of(plan=dataclasses.replace(PLAN, batch=2))
    elsewhere = measurement_of(architecture="abc", facts={**FACTS, "cpu": "B board"})
    found = difference(figures_of(MANY), figures_of([board, batch, elsewhere]))
    assert found.compared == ()
    facts, plan = sorted(found.on_paper, key=lambda group: len(group.plan))
    assert facts.architectures == plan.architectures == (ONE.architecture,)
    assert facts.facts == {"cpu": ("A board", "B board"), "governor": (None, "schedutil")}
    assert (plan.facts, plan.plan) == ({}, {"batch": (1, 2)})
    assert (found.only_one, found.only_other) == (1, 1)


def test_networks_that_differ_alike_are_named_together() -> None:
    theirs = [dataclasses.replace(m, plan=dataclasses.replace(PLAN, batch=4)) for m in MANY[:2]]
    (group,) = difference(figures_of(MANY), figures_of(theirs)).on_paper
    assert group.architectures == (ONE.architecture, OTHER_NETWORK.architecture)


def test_what_has_an_equal_on_the_other_side_is_not_also_compared_on_paper() -> None:
    batch = measurement_of(plan=dataclasses.replace(PLAN, batch=2))
    found = difference(figures_of([ONE, batch]), figures_of([LATER]))
    assert (len(found.compared), found.on_paper) == (1, ())


@given(st.lists(measurements(), max_size=6), st.lists(measurements(), max_size=6))
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_a_difference_is_the_same_from_either_side(
    one: list[Measurement], other: list[Measurement]
) -> None:
    there = difference(figures_of(one), figures_of(other))
    back = difference(figures_of(other), figures_of(one))
    assert {(c.one.key, c.ms, c.ratio) for c in there.compared} == {
        (c.one.key, c.ms, c.ratio) for c in back.compared
    }
    assert (there.only_one, there.only_other) == (back.only_other, back.only_one)
    assert len(there.on_paper) == len(back.on_paper)


def test_a_file_can_be_read_as_it_is(tmp_path: Path) -> None:
    assert list(read_file(file_of(tmp_path, *MANY))) == [(2, ONE), (3, OTHER_NETWORK), (4, LATER)]
