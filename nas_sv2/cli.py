"""The command line: parse, call one function, print.

Each noun has a file in `commands`, which imports heavy packages inside its functions, so that
`--help` answers at once. `main` is the one place where an error becomes a line and an exit code.
"""

import gc
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer

from nas_sv2.commands import data, db, device, network, recipe, search, study, supernet
from nas_sv2.commands.options import OPENED, plan_field
from nas_sv2.errors import INTERRUPTED, ConfigError, NasError, OutputError, was_interrupted
from nas_sv2.folders import expanded
from nas_sv2.show.terminal import open_streams, say
from nas_sv2.version import __version__

FULL_COLLECTION_AFTER = 100
"""Collections of the younger objects before one of all objects; 10 by Python's default.

The imports of a search make 260,000 objects and no garbage, in 51 collections of the younger ones.
The four collections of all objects between them took an eighth to a fifth of the time.
"""
LISTS = {"--affinity", "--form", "--freeze", "--target"}
"""Options whose value is several names with commas between them."""
_UNDECODED = re.compile("[\udc80-\udcff]")
"""Bytes of an argument or a file name that are no text in the system's encoding."""

app = typer.Typer(
    name="nas-sv2",
    help="Latency-aware neural architecture search over the ShuffleNet V2 unit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
DAILY = (
    *(search.search, study.front, study.report),
    *(study.export, network.measure, study.dashboard),
)
for command in DAILY:
    app.command()(command)
for group in (study, network, device, recipe, supernet, data, db):
    name = group.__name__.rpartition(".")[2]
    app.add_typer(group.app, name=name, rich_help_panel="Groups of commands")


def main() -> NoReturn:
    """Run the command line; exit 0, 1 fault, 2 bad input, 3 infeasible, 130 interrupted."""
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_COLLECTION_AFTER)
    # It warns of its cache of fonts in a home that may not be written to.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with open_streams():
        code = _run(sys.argv[1:])
    sys.exit(code)


def _run(words: Sequence[str]) -> int:
    """Run a command; its exit code."""
    usage_error: Any = typer.BadParameter.__base__  # typer has moved the class between releases
    try:
        _refuse_no_folder()
        _refuse_empty(words)
        _refuse_repeated(words)
        code = _tree()(_with_home(words), standalone_mode=False)
        sys.stdout.flush()
    except NasError as error:
        if was_interrupted(error):  # the fault came up while cleaning up
            return INTERRUPTED
        return _fail(_as_typed(error, words), error.exit_code, words)
    except usage_error as error:
        return _fail(_usage(error), ConfigError.exit_code, words)
    except UnicodeEncodeError as error:
        lacking = error.object[error.start : error.end]
        if error.encoding != sys.getfilesystemencoding() and not _UNDECODED.search(lacking):
            raise
        known = sys.getfilesystemencoding()
        message = f"a name has {lacking!r}, which the encoding {known} of this system lacks"
        return _fail(f"{message}; set PYTHONUTF8=1", ConfigError.exit_code, words)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    finally:
        OPENED.close()
    return code if isinstance(code, int) else 0


def _refuse_no_folder() -> None:
    """Refuse a working folder that was deleted: libraries of torch end the process there."""
    try:
        os.getcwd()
    except OSError as error:
        allowed = f"must be a folder that is there ({error.strerror})"
        raise ConfigError("the working folder", ".", allowed) from None


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse a word that is empty, as a variable of the shell that is not set leaves it.

    A path of no characters would be the current folder.
    """
    options = {name: each for each in _command_in(words).params for name in each.opts}
    for before, word in pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if not word or (equals and not value and name in options):
            option = options.get(name or before)
            if option is None or getattr(option, "is_flag", True):
                raise ConfigError("an argument", "", "must not be empty")
            raise ConfigError(
                option.opts[0], "", f"must not be empty: {option.help.removesuffix('.')}"
            )


def _refuse_repeated(words: Sequence[str]) -> None:
    """Refuse a second list of names: the parser would drop the first.

    The last value of any other option counts, as in most programs.
    """
    options = {name: each for each in _command_in(words).params for name in each.opts}
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        name, equals, value = word.partition("=")
        option = options.get(name)
        if option is None or getattr(option, "is_flag", True):
            continue
        value = value if equals else next(rest, "")
        if option.name in given and option.opts[0] in LISTS:
            allowed = f"must be given once, as {given[option.name]},{value}"
            raise ConfigError(option.opts[0], value, allowed)
        given[option.name] = value


def _with_home(words: Sequence[str]) -> list[str]:
    """The words with the home for the ~ of `--out=~/x`, which most shells leave as it is."""
    found = []
    for word in words:
        option, equals, value = word.partition("=")
        if option.startswith("--") and (value == "~" or value.startswith("~/")):
            value = str(expanded(option[2:], value))
        found.append(option + equals + value)
    return found


def _as_typed(error: NasError, words: Sequence[str]) -> str:
    """The message; a field that is a parameter of the command in `words` is named as typed."""
    if isinstance(error, ConfigError):
        for parameter in _command_in(words).params:
            long = [name for name in parameter.opts if name.startswith("--")]
            if error.field in (parameter.name, *(name[2:].replace("-", "_") for name in long)):
                return error.named(long[0] if long else _argument(parameter))
            typed = _value_of(parameter, words)
            if typed is not None and error.field == f"plan.{plan_field(parameter.name)}":
                return str(ConfigError(long[0], typed, error.sentence))
    return str(error)


def _value_of(option: Any, words: Sequence[str]) -> str | None:
    """The value of an option as typed; None if it is not there."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        if name in option.opts:
            return value if equals else following
    return None


def _usage(error: Any) -> str:
    """The message of the parser, and what is allowed where it only says what is wrong."""
    message: str = error.format_message()
    parameter = getattr(error, "param", None)
    if message.startswith("Missing ") and parameter is not None:
        name = parameter.opts[0] if hasattr(parameter, "is_flag") else _argument(parameter)
        return f"{name} is missing: {parameter.help.removesuffix('.')}"
    if message.startswith("No such command"):
        known = ", ".join(error.ctx.command.commands)
        return f"{message.removesuffix('.')}; {error.ctx.command_path} has {known}"
    return message


def _argument(parameter: Any) -> str:
    """The name of an argument, as the usage line has it."""
    return str(parameter.metavar or parameter.name.upper())


def _command_in(words: Sequence[str]) -> Any:
    """The command that `words` of a command line name."""
    command = _tree()
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return command


@cache
def _tree() -> Any:
    """All commands as they are parsed; typer gives their class no public name."""
    return typer.main.get_command(app)


def _fail(message: str, code: int, words: Sequence[str]) -> int:
    """Say how a command failed, on one line; its exit code."""
    line = " ".join(message.split())
    with suppress(OutputError):
        if line and "--log-json" in words:
            from nas_sv2.show.search_events import LogLines

            LogLines(sys.stderr).write("error", "error", message=line, exit_code=code)
        elif line:
            say(f"nas-sv2: {line}", error=True)
    return code


def _version(asked: bool) -> None:
    if asked:
        say(f"nas-sv2 {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Latency-aware neural architecture search over the ShuffleNet V2 unit."""
