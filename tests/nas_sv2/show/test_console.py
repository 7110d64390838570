"""Tables at every width: no figure is cut, and no name is elided."""

import io
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_study import ScriptedStudy

from nas_sv2.show.console import Console, Table, plain_table

Run = Callable[..., tuple[int, str, str]]

WIDTHS = [60, 80, 100, 200]
FIGURE = re.compile(r"[^\s:]*\d[^\s:]*")
NAMES = st.text("ab_é猫:[]0", min_size=1, max_size=64)
FIGURES = st.from_regex(r"[0-9]{1,6}\.[0-9]{3}(–[0-9]{1,4}\.[0-9]{3})?", fullmatch=True)


def drawn(table: Table, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


@settings(max_examples=30)
@given(
    st.integers(1, 14).flatmap(
        lambda count: st.lists(
            st.tuples(NAMES, NAMES, st.lists(FIGURES, min_size=count, max_size=count)),
            min_size=1,
            max_size=5,
        )
    ),
    st.sampled_from([*WIDTHS, 30]),
)
def test_every_figure_is_whole(rows: list[tuple[str, str, list[str]]], width: int) -> None:
    table = plain_table("network", "target", *(f"head {n}" for n in range(len(rows[0][2]))))
    for name, target, figures in rows:
        table.add_row(name, target, *figures)
    text = drawn(table, width)
    words = Counter(text.split())
    for figure, count in Counter(figure for *_, row in rows for figure in row).items():
        assert words[figure] >= count
    assert "…" not in text
    unbroken = re.sub(r"\s", "", text)
    assert all(name in unbroken for name, _, _ in rows)


def test_a_table_that_fits_is_one_and_a_wider_one_repeats_the_names() -> None:
    table = plain_table("network", "target", *("milliseconds",) * 6)
    table.add_row("mine", "pi5", *(f"{n}.125" for n in range(6)))
    assert len(drawn(table, 200).splitlines()) == 2
    narrow = drawn(table, 60)
    assert narrow.count("mine") == 2 and narrow.count("5.125") == 1
    table.add_row("a" * 64, "pi5", *(f"{n}.25" for n in range(6)))
    assert "  milliseconds: 5.25\n" in re.sub(" +\n", "\n", drawn(table, 60))


def test_markup_and_emoji_are_text() -> None:
    table = plain_table("cnn:fire:v2", "[red]")
    table.add_row("imagefolder:cat:", "[bold]x[/bold]")
    text = drawn(table, 80)
    for name in ("cnn:fire:v2", "[red]", "imagefolder:cat:", "[bold]x[/bold]"):
        assert name in text
    file = io.StringIO()
    Console(file=file, width=80).print("cnn:fire:v2 [red]x[/red]", "\x1b[2J")
    assert file.getvalue() == "cnn:fire:v2 [red]x[/red] \\x1b[2J\n"


@pytest.mark.parametrize(
    "words",
    [
        ("device", "list"),
        ("recipe", "list"),
        ("network", "cost", "shufflenet_v2_x1_0"),
        ("network", "explain", "shufflenet_v2_x0_5", "-t", "arm"),
        ("network", "profile", "shufflenet_v2_x0_5", "-t", "arm"),
        ("network", "reuse", "shufflenet_v2_x0_5"),
        ("measure", "shufflenet_v2_x0_5", "torchvision_shufflenet_v2_x1_0", "-t", "arm"),
        pytest.param(
            ("device", "paper-table", "-t", "arm", "--level", "40M"), marks=pytest.mark.slow
        ),
        ("study", "list"),
        ("study", "show", "NAME"),
        ("front", "NAME"),
    ],
    ids=str,
)
def test_the_tables_of_the_commands(
    command_line: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    name = "a-long-name-of-a-study-" * 3
    if "study" in words or "front" in words:
        ScriptedStudy("sqlite:///nas-sv2.db", name).all(found=3)
    words = tuple(name if word == "NAME" else word for word in words)
    found = {}
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, _ = command_line(*words)
        assert code == 0
        found[width] = Counter(FIGURE.findall(out))
        assert "…" not in out
    for width in WIDTHS[:-1]:
        assert found[200] - found[width] == Counter(), width
