"""Any text, in any encoding, on any stream: printed readable and safe, or refused in one line."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer.main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_study import ScriptedStudy

from nas_sv2.cli import app, main
from nas_sv2.errors import OutputError
from nas_sv2.show.terminal import LONGEST, open_streams, say, shown

Run = Callable[..., tuple[int, str, str]]

ENCODINGS = ["ascii", "latin-1", "cp1252", "koi8-r", "utf-8"]
HOSTILE = [
    "\x1b[2J\x1b[32mok   weights",
    "\x07\x08\x7f",
    "\x9b31mred\x85",
    "\u202edesrever\u2066\u200f",
    "two\nlines\r\u2028three",
    "\udce9 of a file",
    "猫 ± ≤",
    "[red]cnn:fire:v2[/red]",
]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(HOSTILE)


@given(ANY_TEXT)
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    line = shown(text)
    assert line.isprintable()
    assert shown(line) == line
    assert not text.isprintable() or line == text


def test_a_line_that_is_too_long_says_how_much_is_missing() -> None:
    line = shown("a" * (LONGEST + 7))
    assert line == "a" * LONGEST + "… (7 more characters)"


@given(ANY_TEXT, st.sampled_from(ENCODINGS))
def test_every_encoding_takes_every_text(text: str, encoding: str) -> None:
    assert printed(encoding, text).endswith("\n")


@pytest.mark.parametrize(
    ("encoding", "text", "there"),
    [
        ("ascii", "2.63 ± 0.1 ≤ 3 × 4 – 5…", "2.63 +/- 0.1 <= 3 x 4 - 5..."),
        ("ascii", "Kendall's τ, 5 µs, café", "Kendall's tau, 5 us, cafe"),
        ("ascii", "猫", r"\u732b"),
        ("latin-1", "± ≤ café", "± <= café"),
        ("cp1252", "– ≤ €", "– <= €"),
        ("utf-8", "± ≤ 猫", "± ≤ 猫"),
    ],
)
def test_characters_that_an_encoding_lacks_stay_readable(
    encoding: str, text: str, there: str
) -> None:
    assert printed(encoding, text) == there + "\n"


def printed(encoding: str, text: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        patch.setattr(sys, "stdout", stream)
        with open_streams():
            say(text)
        return stream.buffer.getvalue().decode(encoding)


def every_help() -> Iterator[list[str]]:
    """The words that ask each command for its help."""

    def below(command: object, words: list[str]) -> Iterator[list[str]]:
        yield [*words, "--help"]
        for name, each in getattr(command, "commands", {}).items():
            yield from below(each, [*words, name])

    return below(typer.main.get_command(app), [])


@pytest.fixture
def run_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Runs the command line on streams of an encoding."""
    monkeypatch.chdir(tmp_path)

    def run(encoding: str, *words: str) -> SimpleNamespace:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        monkeypatch.setattr(sys, "argv", ["nas-sv2", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        texts = [stream.buffer.getvalue().decode(encoding) for stream in (out, err)]
        return SimpleNamespace(code=caught.value.code, out=texts[0], err=texts[1])

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_the_help_of_every_command(run_in: Callable[..., SimpleNamespace], encoding: str) -> None:
    for words in every_help():
        found = run_in(encoding, *words)
        assert found.code == 0, words
        assert "Usage:" in found.out, words


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_study_of_any_name_is_read_on_a_poor_terminal(
    run_in: Callable[..., SimpleNamespace], tmp_path: Path, encoding: str
) -> None:
    storage, name = f"sqlite:///{tmp_path}/s.db", "猫 ±"
    ScriptedStudy(storage, name).all(found=3)
    plain = {"ascii": r"\u732b +/-", "latin-1": r"\u732b ±"}[encoding]
    assert plain in run_in(encoding, "study", "list", "-s", storage).out
    for words in (["front"], ["study", "show"]):
        found = run_in(encoding, *words, name, "-s", storage)
        assert (found.code, found.err) == (0, ""), words
    data = run_in(encoding, "front", name, "-s", storage, "--json").out
    assert json.loads(data)["study"] == name


def test_a_hostile_name_of_a_study_paints_nothing(command_line: Run, tmp_path: Path) -> None:
    text = "".join(each for each in HOSTILE if "\udce9" not in each)
    storage = f"sqlite:///{tmp_path}/s.db"
    ScriptedStudy(storage, text).all(found=2)
    at = ("-s", storage)
    for words in (
        ("study", "list", *at),
        ("study", "show", *at, "--", text),
        ("front", *at, "--", text),
        ("study", "delete", "--yes", *at, "--", text),
    ):
        code, out, err = command_line(*words)
        assert (code, err) == (0, ""), words
        assert all(line.isprintable() for line in out.split("\n")), words
        assert words[0] == "front" or shown(text).split()[0] in out, words


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT)
def test_any_word_of_the_command_line_is_refused_in_one_safe_line(
    command_line: Run, text: str
) -> None:
    for words in (
        ("network", "cost", "--", text),
        ("measure", "shufflenet_v2_x0_5", "--target", text),
        ("search", "--target", "arm", "--trials", "0", "--budget", text),
        ("search", "--target", "arm", "--trials", "0", "--study", text),
        ("device", "remove", "--yes", "--", text),
        ("recipe", "show", "--", text),
        ("front", "x", "--storage", text),
        (text,),
    ):
        code, out, err = command_line(*words)
        lines = (out + err).removesuffix("\n").split("\n")
        assert code in (0, 1, 2), words
        assert all(line.isprintable() for line in lines), words
        assert code == 0 or len(lines) == 1, words


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_in_a_file_is_refused_in_one_safe_line(
    command_line: Run, tmp_path: Path, text: str
) -> None:
    key = json.dumps(text)
    files = {
        "a.yaml": f"nas_sv2_architecture: 1\n{key}: 1\n",
        "r.yaml": f"nas_sv2_recipe: 1\n{key}: {key}\n",
        "s.yaml": f"nas_sv2_space: 1\n{key}: {key}\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    for words in (
        ("network", "cost", "a.yaml"),
        ("recipe", "show", "r.yaml"),
        ("search", "--target", "arm", "--space", "s.yaml"),
    ):
        code, out, err = command_line(*words)
        assert (code, out) == (2, ""), words
        assert err.count("\n") == 1 and err[:-1].isprintable(), words


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_full_disk_behind_a_stream_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, which, full)
        words = ["device", "list"] if which == "stdout" else ["network", "cost", "nothing"]
        monkeypatch.setattr(sys, "argv", ["nas-sv2", *words])
        with pytest.raises(SystemExit) as caught:
            main()
    captured = capsys.readouterr()
    said = "nas-sv2: standard output cannot be written: No space left on device\n"
    assert caught.value.code == (1 if which == "stdout" else 2)
    assert (captured.out, captured.err) == ("", said if which == "stdout" else "")


def test_a_stream_that_failed_once_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with open_streams():
            with pytest.raises(OutputError, match="No space left"):
                say("lost")
            say("kept by nobody")


def test_a_reader_that_has_gone_is_not_mentioned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "argv", ["nas-sv2", "device", "list"])
        with pytest.raises(SystemExit) as caught:
            main()
    assert (caught.value.code, capsys.readouterr().err) == (1, "")


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_stream_that_was_closed_at_the_start(
    monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(sys, which, None)
    monkeypatch.setattr(sys, "argv", ["nas-sv2", "device", "list"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


@pytest.mark.slow
def test_in_processes_with_the_shells_own_redirections(tmp_path: Path) -> None:
    for redirection, code, said in (
        ("> /dev/full", 1, "nas-sv2: standard output cannot be written"),
        ("2> /dev/full", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("| head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 1, ""),
    ):
        command = f"{sys.executable} -m nas_sv2 recipe show quick {redirection}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode in (code, 0)) and done.stderr.startswith(said), redirection
        assert "Traceback" not in done.stderr and "ignored" not in done.stderr
