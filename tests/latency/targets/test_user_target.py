"""Targets of the user's own: by `module:attribute` and as objects, with three members or more."""

import json
import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from csv_target import CsvTable

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.latency.breakdown.priced import breakdown_of
from nas_sv2.latency.breakdown.profiled import profile_of
from nas_sv2.latency.breakdown.what_if import gains_of
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.predictor.predicted_target import is_predictable
from nas_sv2.latency.targets.book import MODULES, TargetBook
from nas_sv2.latency.targets.doctor import trust_warning
from nas_sv2.latency.targets.target import device_of
from nas_sv2.latency.targets.user_target import UserTarget
from nas_sv2.resolution import height_and_width
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

WORD = "csv_target:CsvTable"
X05 = reference("shufflenet_v2_x0_5")


@dataclass
class Board:
    """Three members, and whatever a test wants wrong with them."""

    name: Any = "board"
    provenance: Any = "emulated"
    answer: Any = None

    def estimate(self, network: Network) -> Latency:
        if self.answer is not None:
            return self.answer  # type: ignore[no-any-return]
        assert isinstance(network, Architecture)
        return Latency.of(
            1.0 + max(height_and_width(network.resolution)) / 100, "emulated", "a board of mine"
        )


@pytest.mark.usefixtures("latency_table")
def test_a_plug_in_is_called_by_its_own_name_and_is_imported_once() -> None:
    book = TargetBook.read()
    assert book.names(f"arm, {WORD}") == ["arm", "my-board"]
    assert book.one(WORD) == "my-board"
    assert book.open("my-board").estimate(X05).ms == 10.0
    assert book.modules(["arm", "my-board"]) == {"my-board": WORD}
    info = {info.name: info for info in book.describe()}["my-board"]
    assert (info.provenance, info.available) == ("measured", True)
    assert "csv_target.CsvTable" in info.what


@pytest.mark.usefixtures("latency_table")
def test_a_study_finds_its_plug_ins_again() -> None:
    book = TargetBook.of_study({"targets": {"my-board": "measured"}, MODULES: {"my-board": WORD}})
    assert book.open("my-board").estimate(X05).ms == 10.0
    gone = TargetBook.of_study({MODULES: {"other": "no_such_module:Board"}})
    assert gone.open("arm").name == "arm"  # one that has gone hinders no other target
    with pytest.raises(ConfigError, match=r"No module named .*no_such_module:Board"):
        gone.open("other")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("no_such_module:Board", "No module named 'no_such_module'"),
        ("csv_target:NoSuchClass", "has no attribute 'NoSuchClass'"),
        ("csv_target:", "has no attribute ''"),
        ("csv_target:CsvTable", "KeyError: 'LATENCIES'"),
        ("json:JSONDecoder", "and lacks name"),
        ("os:getcwd", "and lacks name"),
    ],
)
def test_a_word_that_gives_no_target_is_refused_in_one_line(
    word: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENCIES", raising=False)
    with pytest.raises(ConfigError) as caught:
        TargetBook.read().names(word)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_of_the_current_directory_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "boards_of_mine.py").write_text(
        "from nas_sv2.latency.measurements.measurement import Latency\n"
        "class Board:\n"
        "    name, provenance = 'mine', 'published'\n"
        "    def estimate(self, network):\n"
        "        return Latency.of(3.0, 'published', 'of the data sheet')\n"
        "board = Board()\n"
        "def make():\n"
        "    return board\n"
    )
    for attribute in ("Board", "board", "make"):
        book = TargetBook.read()
        assert book.open(book.one(f"boards_of_mine:{attribute}")).estimate(X05).ms == 3.0


def test_an_object_stands_beside_the_names() -> None:
    book = TargetBook.read([Board()])
    assert book.names("cpu,board") == ["cpu", "board"]
    assert book.modules(["board"]) == {}
    with pytest.raises(ConfigError, match="must differ from other targets' names"):
        book.add(Board())
    with pytest.raises(ConfigError, match="must differ from other targets' names"):
        book.add(Board(name="arm"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "my board"}, r"target\.name"),
        ({"name": 5}, r"target\.name"),
        (
            {"provenance": "guessed"},
            r"target\.provenance must be one of .*; got 'guessed'",
        ),
    ],
)
def test_a_name_or_provenance_that_cannot_be_is_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        UserTarget(Board(**changes))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Latency.of(1.0, "measured", "x"), "must be emulated, as the target says"),
        (3.5, "must give a Latency; got 3.5"),
    ],
)
def test_a_latency_that_cannot_be_is_refused(answer: object, said: str) -> None:
    with pytest.raises(MeasurementError, match=said):
        UserTarget(Board(answer=answer)).estimate(X05)


GOOD = {
    "ms": 2.0,
    "ci_ms": (1.9, 2.1),
    "p95_ms": 2.2,
    "provenance": "emulated",
    "device": "a board",
    "runs": 30,
    "contended": False,
    "note": "",
    "reference": "shufflenet_v2_x1_0",
    "ratio": 0.5,
    "ratio_ci": (0.45, 0.55),
    "reference_ms": 4.0,
}
IMPOSSIBLE: dict[str, list[Any]] = {
    "ms": [
        math.nan,
        math.inf,
        -math.inf,
        0.0,
        -0.0,
        -2.0,
        5e-324,
        1e308,
        10**400,
        True,
        None,
        "2",
    ],
    "ci_ms": [(math.nan, 3.0), (1.0, math.inf), (2.5, 3.0), (1.0, 1.5), (2.1, 1.9), (1.0,)],
    "ci_ms ": [(None, 3.0), ("1", "3"), (True, 3), ((1, 2), 3), (1.9, 2.1, 2.2), [1.9, 2.1]],
    "p95_ms": [math.nan, math.inf, 1.0, -1.0, "2.2", True],
    "provenance": ["guessed", None, 1, "\x1b[2J"],
    "device": ["\x1b[2J", None, 7, "x" * 10_000, "a\nb"],
    "runs": [0, -1, 2.5, True, "30", 10**30, math.nan],
    "contended": ["no", 0, 1.0],
    "note": ["\x1b]0;T\x07", None, 3, "n" * 10_000, "\0"],
    "reference": ["\x1b[2J", 4, b"x"],
    "ratio": [math.nan, math.inf, 0, -1, "0.5", None, True],
    "ratio_ci": [(math.nan, 1.0), (0.6, 0.7), (0.1, 0.2), 0.5],
    "reference_ms": [math.nan, math.inf, 0.0, -4.0, "4", True, 5e-324],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(name.strip(), value) for name, values in IMPOSSIBLE.items() for value in values],
)
def test_a_figure_that_no_network_can_have_is_refused_by_device_and_field(
    field: str, value: Any
) -> None:
    @dataclass
    class Wrong(Board):
        def estimate(self, network: Network) -> Latency:
            return Latency(**{**GOOD, field: value})

    assert Latency(**GOOD).ms == 2.0  # type: ignore[arg-type]
    with pytest.raises(MeasurementError, match=f"^board: .*{field} must be") as refused:
        UserTarget(Wrong()).estimate(X05)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "rows", [[("a", "Conv", math.nan)], [("a", "Conv")], "abc", 7, [("\x1b[2J", "Conv", 1.0)]]
)
def test_kernel_times_that_cannot_be_are_refused(rows: Any) -> None:
    @dataclass
    class Wrong(Board):
        def kernel_times(self, network: Network) -> Any:
            return rows

    with pytest.raises(MeasurementError, match=r"^board: kernel_times: "):
        UserTarget(Wrong()).kernel_times(X05)


def test_an_ability_that_it_lacks_is_refused_by_one_clear_line(tmp_path: Path) -> None:
    target = UserTarget(Board())
    store = MeasurementStore(Database.open(f"sqlite:///{tmp_path}/m.db"))
    assert ProfileStore(store.db).find_of(target) is None
    why = "board has no profile, as it does not say which device it is"
    assert ProfileStore(store.db).remedy(target) == why
    assert breakdown_of(target, X05, ProfileStore(store.db)) is None
    assert trust_warning(target) is None
    assert not is_predictable(target)
    for refused, error in (
        (partial(profile_of, target, X05), "must be a target that times or prices each kernel"),
        (partial(DeviceKey.of, target), why),
        (
            partial(device_of, target),
            "must be a measured target",
        ),
        (
            partial(target.with_plan, batch=8),
            "plan.batch must be left out: board has no such setting",
        ),
    ):
        with pytest.raises(Exception, match=error) as caught:
            refused()
        assert "\n" not in str(caught.value)
    store.db.close()


def test_variants_are_priced_by_its_estimates() -> None:
    found = gains_of(UserTarget(Board()), X05)
    assert found.original.ms == UserTarget(Board()).estimate(X05).ms
    assert "emulated, not timed together" in found.rule


def test_further_members_are_used_if_it_has_them() -> None:
    class Priced(Board):
        def operator_shares(self, network: Network) -> dict[str, float]:
            return {"pointwise": 0.75, "depthwise": 0.25}

    target = UserTarget(Priced())
    assert target.operator_shares(X05) == {"pointwise": 0.75, "depthwise": 0.25}


def test_the_example_reads_its_table(latency_table: Path) -> None:
    with pytest.raises(MeasurementError, match="has no line for the network"):
        CsvTable(latency_table).estimate(reference("shufflenet_v2_x1_0"))
    assert json.loads(json.dumps(CsvTable().estimate(X05).to_json()))["ms"] == 10.0
