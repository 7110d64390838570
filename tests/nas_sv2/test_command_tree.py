"""The tree of commands as it is registered: nothing without help, no word with two meanings."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from nas_sv2.cli import app

PAGE = Path("docs/reference/cli.md")

DAILY = ("search", "front", "report", "export", "measure", "dashboard")
GROUPS = {
    "study": ("list", "show", "confirm", "replay", "delete"),
    "network": (
        *("cost", "explain", "profile", "reuse", "train", "verify"),
        *("detect-table", "train-detector"),
    ),
    "device": (
        *("list", "catalogue", "add", "remove", "test", "grade", "guidelines"),
        *("predictor", "calibrate", "refit", "paper-table"),
    ),
    "recipe": ("list", "show", "qualify"),
    "supernet": ("train",),
    "data": ("prepare", "info", "clear"),
    "db": ("export", "merge", "diff", "upgrade", "clean", "repair"),
}

MEANINGS = {
    "--affinity": "cores that a latency is measured on",
    "--alone": "backbones without their detectors",
    "--audit": "share of pruned candidates to evaluate",
    "--batch": "images a run",
    "--budget -b": "upper limit, repeatable",
    "--by": "what the time is divided by",
    "--clock-ghz": "clock of an emulated core",
    "--command": "command that starts python3 on a device",
    "--core": "emulated core",
    "--cuda": "this machine's GPU as a device",
    "--data -d": "the images, or where the study's data lie now",
    "--device": "device of trainings: cpu or cuda",
    "--evaluator": "how candidates are scored",
    "--fit": "how pictures become squares",
    "--family": "widths of the scaled family",
    "--folder": "folder of intermediate results",
    "--force": "overwrite",
    "--form": "formats of exported models",
    "--format": "form of a report",
    "--freeze": "parts of a network that do not learn",
    "--fresh": "measure or fit again although a result is stored",
    "--from": "study whose front is asked first",
    "--guidelines": "guidelines to prune by",
    "--host": "address to listen on",
    "--head": "head of a detector",
    "--image-size": "height and width of a detector's images",
    "--input": "size of the input",
    "--int8 --no-int8": "forms in int8",
    "--json": "plain data for programs",
    "--latency": "how latencies of candidates are had",
    "--level": "level of the paper's networks",
    "--local": "this machine's CPU as a device",
    "--log-json": "events on standard error as JSON",
    "--margin": "points of accuracy that a faster network may lose",
    "--matched": "networks of equal FLOPs",
    "--max-mib": "size of the largest network to send",
    "--networks": "random networks a step",
    "--opset": "opset of the ONNX files",
    "--operators --no-operators": "time the operators of the front now",
    "--out -o": "path to write",
    "--pause": "seconds between sessions",
    "--plan": "field of a measuring plan",
    "--port": "port of a server",
    "--qat": "training with the rounding of int8",
    "--precision": "precision of a network's arithmetic",
    "--project": "write the project's device file",
    "--python": "python3 of a device",
    "--quick": "three sessions in a row",
    "--rates": "factors of the learning rate by part",
    "--ray": "Ray cluster",
    "--recipe": "how networks are trained",
    "--reference": "recipe that is taken for the truth",
    "--require-measured": "refuse latencies that are not measured",
    "--resolution": "side of an input in pixels",
    "--run-model-py": "run a model.py that is not ours",
    "--runtime": "runtime that executes networks on a device",
    "--sampler": "what chooses candidates",
    "--seed": "a seed",
    "--seeds": "a count of seeds",
    "--server-name": "host name that others use for this machine",
    "--sessions": "a count of sessions",
    "--skip-unreadable": "leave out images that cannot be read",
    "--space": "space of the networks",
    "--ssh": "host of a device",
    "--ssh-config": "configuration file of ssh",
    "--stop-rule --no-stop-rule": "end a training early that cannot reach the front",
    "--start": "network of one's own that is asked first",
    "--storage -s": "database URL",
    "--study": "name of the study to begin or resume",
    "--supernet": "where the study's supernet lies now",
    "--sustained": "minutes to run before measuring",
    "--table": "table of an emulated core",
    "--task": "kind of networks",
    "--target -t": "target or targets",
    "--teacher": "network whose answers are learnt",
    "--temperature": "temperature of a teacher's answers",
    "--threads": "threads of a latency measurement",
    "--time --no-time": "time the exported files",
    "--timeout": "time after which no trial begins",
    "--tolerance": "share by which a FLOPs budget may be exceeded",
    "--trained": "folders of trained detectors",
    "--train-threads": "CPU threads of a training",
    "--trajectories": "series of networks",
    "--trial": "number of a trial, or best",
    "--trials -n": "a count of trials",
    "--vs": "network to compare with the paper's",
    "--vs-study": "study whose best network takes part",
    "--weights": "weights of a network",
    "--workers -j": "how much runs at the same time",
    "--write": "let the browser change studies",
    "--yes -y": "do not ask",
}
"""Every option with its short or negative form: one word, one meaning."""

ROOT: Any = typer.main.get_command(app)


def commands(command: Any = ROOT, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command and group by the words that name it."""
    for name, each in getattr(command, "commands", {}).items():
        yield " ".join((*words, name)), each
        yield from commands(each, (*words, name))


EVERY = dict(commands())
LEAVES = [words for words, each in EVERY.items() if not hasattr(each, "commands")]


def options(command: Any) -> Iterator[tuple[str, Any]]:
    """The options of a command by all their names."""
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if any(name.startswith("-") for name in names):
            yield " ".join(names), parameter


def test_six_commands_and_seven_groups_stand_on_top() -> None:
    assert tuple(ROOT.commands) == (*DAILY, *GROUPS)
    assert len(ROOT.commands) == 13
    found = {name: tuple(ROOT.commands[name].commands) for name in GROUPS}
    assert found == GROUPS


@pytest.mark.parametrize("words", EVERY)
def test_every_command_and_each_of_its_parameters_has_help(words: str) -> None:
    assert EVERY[words].help
    for parameter in EVERY[words].params:
        assert parameter.help, parameter.name


def test_every_option_is_in_the_table_and_none_has_two_spellings() -> None:
    used = {names for command in EVERY.values() for names, _ in options(command)}
    assert used == MEANINGS.keys()
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_an_option_is_a_flag_everywhere_or_nowhere() -> None:
    kinds = defaultdict(set)
    for command in EVERY.values():
        for names, parameter in options(command):
            kinds[names].add(parameter.is_flag)
    assert all(len(found) == 1 for found in kinds.values())


def test_the_database_is_named_by_a_variable_too() -> None:
    named = [p for c in EVERY.values() for names, p in options(c) if names == "--storage -s"]
    assert len(named) > 20
    assert {parameter.envvar for parameter in named} == {"NAS_SV2_STORAGE"}


def test_the_help_of_search_has_two_panels() -> None:
    panels = defaultdict(list)
    for names, parameter in options(EVERY["search"]):
        panels[parameter.rich_help_panel].append(names.split()[0])
    assert list(panels) == ["What to search", "How to search"]
    first = ["--target", "--budget", "--space", "--input", "--data", "--task", "--head", "--fit"]
    first.append("--trials")
    assert panels["What to search"] == first


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not written yet")
@pytest.mark.parametrize(
    "words", [name for name, each in EVERY.items() if not hasattr(each, "commands")]
)
def test_every_command_stands_on_its_page(words: str) -> None:
    assert f"nas-sv2 {words}" in PAGE.read_text()


def test_no_option_takes_an_empty_text(
    command_line: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """A variable that is not set must not stand for the default, or for the current folder."""
    for path in LEAVES:
        for option in EVERY[path].params:
            if getattr(option, "is_flag", True):
                continue
            for words in (
                [option.opts[-1], ""],
                [f"{option.opts[0]}="],
                ["x", option.opts[0], ""],
            ):
                code, out, err = command_line(*path.split(), *words)
                assert (code, out) == (2, ""), (path, words)
                assert err.startswith(f"nas-sv2: {option.opts[0]} must not be empty: "), path
                assert err.endswith("; got ''\n") and err.count("\n") == 1, path
        code, out, err = command_line(*path.split(), "")
        assert (code, err) == (2, "nas-sv2: an argument must not be empty; got ''\n"), path
    assert not list(tmp_path.iterdir())


def test_a_second_list_is_refused_and_not_taken_alone(
    command_line: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """`--form onnx --form tflite` exported the second alone, `--target` timed the second alone."""
    lists = {"--affinity", "--form", "--freeze", "--target"}
    refused = set()
    for path in LEAVES:
        for option in EVERY[path].params:
            name, short = option.opts[0], option.opts[-1]
            if name not in lists:
                continue
            for second in ([short, "b"], [f"{name}=b"]):
                code, out, err = command_line(*path.split(), name, "a", *second)
                assert err == f"nas-sv2: {name} must be given once, as a,b; got 'b'\n"
                assert (code, out) == (2, "")
                refused.add(name)
    assert refused == lists
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "--study --target --target arm --trials 0",
        "--target arm -- --target cpu",
        "--seed 1 --seed 2",
    ],
)
def test_a_value_that_is_no_second_list_is_taken(
    command_line: Callable[..., tuple[int, str, str]], words: str
) -> None:
    assert "must be given once" not in command_line("search", *words.split())[2]
