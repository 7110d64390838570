"""Options and arguments that several commands share, and how a command prints.

A word means one thing in every command, and one thing has one word: an option that two commands
have stands here once.
"""

import re
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.api import DEFAULT_STORAGE
from nas_sv2.errors import ConfigError
from nas_sv2.passwords import masked
from nas_sv2.show.terminal import say, say_json, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import RenderableType
    from rich.progress import Progress

    from nas_sv2.api.arguments import Database
    from nas_sv2.api.study import StudyFacts
    from nas_sv2.show.console import Console

OPENED = ExitStack()
"""What the running command has opened; `main` closes it."""
STORAGE = DEFAULT_STORAGE
STORAGE_VARIABLE = "NAS_SV2_STORAGE"
MOST_MINUTES = 24 * 60
PRECISIONS = ("fp32", "int8", "fp16")

ARCH_HELP = "A reference name, a YAML or JSON file, or STUDY:NUMBER."
RUN_HELP = "A reference name, a YAML or JSON file, FILE.onnx, or STUDY:NUMBER."
DATA_HELP = (
    "animals, fashion-mnist, cifar10, cifar100, imagefolder:PATH, imagenet:PATH, csv:FILE or "
    "npz:FILE."
)
SPACE_HELP = "40M, 140M, 300M, 500M, large, a file or module:attribute"

Arch = Annotated[str, typer.Argument(help=ARCH_HELP)]
RunArch = Annotated[str, typer.Argument(help=RUN_HELP, metavar="ARCH")]
RunArchs = Annotated[list[str], typer.Argument(help=RUN_HELP, metavar="ARCH...")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]SHAPE",
        help="Shape of the input, as 1x3x96x128; x=1x3x96x128 names one of an ONNX file's; "
        "repeatable.",
    ),
]
ImageSize = Annotated[
    str,
    typer.Option(
        "--image-size", metavar="HEIGHTxWIDTH", help="Size of a detector's images in pixels."
    ),
]
StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="Name of a study; nas-sv2 study list shows them.")
]

Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        "-s",
        envvar=STORAGE_VARIABLE,
        help="Database of studies and measurements: a file or a URL.",
    ),
]
OneTarget = Annotated[
    str,
    typer.Option("--target", "-t", help="A target: arm, cpu, gpu, a device or module:attribute."),
]
SeveralTargets = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="A target: arm, cpu, gpu, a device or module:attribute; several as arm,cpu.",
    ),
]
Data = Annotated[str, typer.Option("--data", "-d", help=DATA_HELP)]
DataPlace = Annotated[
    str | None,
    typer.Option("--data", "-d", help="Where the study's data lie now, if they were moved."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-j", help="Trainings at the same time; one for each core if left out."
    ),
]
StartingWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Weights to start from: DIR, FILE, torchvision:NAME or STUDY:NUMBER.",
    ),
]
TrainThreads = Annotated[
    int,
    typer.Option(
        "--train-threads",
        min=1,
        help="CPU threads of a training; more are faster on idle cores, slower on busy ones.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure or fit again although a result is stored.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]
RequireMeasured = Annotated[
    bool, typer.Option("--require-measured", help="Refuse targets whose latency is not measured.")
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
]
FIT_HELP = (
    "How pictures of a folder take the shape of the input: crop, pad or stretch; crop if left out."
)
Fit = Annotated[str | None, typer.Option("--fit", help=FIT_HELP)]
Form = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="Formats of the models, of onnx,tflite,ncnn; if left out ONNX, and for an export "
        "those that the study's targets read.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Plain data for programs.")]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--runtime", help="The runtime on the device: onnxruntime, litert, ncnn or torch."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="fp32; int8 but with torch, fp16 with ncnn or on a GPU."),
]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads within an operator.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Images a run.")]
Affinity = Annotated[str | None, typer.Option("--affinity", help="Cores to run on, as 0,1.")]


def side(text: str) -> int:
    """Read the side of a square image.

    Raises:
        ConfigError: It is not a whole number above 0.
    """
    from nas_sv2.documents import Side, check_value

    check_value("resolution", number := int(text) if _is_whole(text) else text, Side)
    return int(number)


def resolution(text: str) -> "int | tuple[int, ...]":
    """Read the side of a square image, or height and width, as 96x128.

    Raises:
        ConfigError: It is something else.
    """
    from nas_sv2.resolution import read_resolution

    if not re.fullmatch("[0-9]{1,9}(x[0-9]{1,9})?", text):
        allowed = "must be the side of a square image, or height and width as 96x128"
        raise ConfigError("resolution", text, allowed)
    sides = [int(word) for word in text.split("x")]
    return read_resolution("resolution", sides if len(sides) > 1 else sides[0])


def height_and_width(text: str) -> tuple[int, int]:
    """Read height and width of an image, as 800x1200.

    Raises:
        ConfigError: It is not the height and width of an image.
    """
    from nas_sv2.documents import Side, check_value

    words = text.split("x")
    if len(words) != 2 or not all(map(_is_whole, words)):
        raise ConfigError("image_size", text, "must be height and width, as 800x1200")
    for word in words:
        check_value("image_size", int(word), Side)
    return int(words[0]), int(words[1])


def input_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Read the shapes of inputs by name; the name "" stands for the only input.

    Raises:
        ConfigError: A text gives other than sizes, or two are for one input.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        words = sizes.split("x")
        if not all(_is_whole(word) and int(word) for word in words):
            raise ConfigError("input", text, "must be sizes above 0, as 1x3x224x224")
        if name in shapes:
            raise ConfigError("input", text, "must name each input once, as NAME=1x3x224x224")
        shapes[name] = tuple(map(int, words))
    return shapes


def _is_whole(word: str) -> bool:
    """Whether a word is a whole number; Python refuses to read one of thousands of digits."""
    return re.fullmatch("[0-9]{1,18}", word) is not None


def formats(text: str | None) -> list[str] | None:
    """Read the formats of models, as onnx,tflite; None if the user leaves the choice."""
    return None if text is None else [word.strip() for word in text.split(",")]


def factors(text: str | None) -> dict[str, float]:
    """Read factors by part, as `stage2=0.1,stage3=0.3`.

    Raises:
        ConfigError: A word lacks its number, or a part stands twice.
    """
    found: dict[str, float] = {}
    for word in text.split(",") if text else ():
        part, _, number = word.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = 0.0
        if not part or part in found or not 0 < factor < float("inf"):
            raise ConfigError("rates", word, "must be a part and a number, as stage2=0.1")
        found[part] = factor
    return found


def open_database(storage: str) -> "Database":
    """Open a database for the running command; `main` closes it at the end."""
    from nas_sv2.api.arguments import database_of

    return OPENED.enter_context(database_of(storage))


def silence_optuna() -> None:
    """Let Optuna print warnings only: a command says itself what it does."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def print_notes(notes: list[str], *, error: bool = False) -> None:
    """Print one fact a line; on standard error if asked, so that JSON stays alone."""
    for note in notes:
        say(note, error=error)


def print_front(facts: "StudyFacts", as_json: bool) -> None:
    """Print the front of a study with its baselines and notes, or as JSON."""
    from nas_sv2.show.console import output
    from nas_sv2.show.study_tables import front_data, front_table, study_notes

    if as_json:
        say_json(front_data(facts))
    else:
        output().print(front_table(facts.front))
        print_notes(study_notes(facts))


def print_parts(console: "Console", parts: "Iterable[RenderableType]") -> None:
    """Print tables and lines one below the other; lines are not wrapped."""
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))


def next_command(storage: str, command: str, name: str, *options: str) -> str:
    """The command to type next, on the same database; it shows no password of the URL."""
    from nas_sv2.api.study import study_command

    at = [] if storage == STORAGE else ["--storage", masked(storage)]
    return study_command(command, name, *options, *at)


@contextmanager
def resumable() -> "Iterator[None]":
    """Say that the same command resumes the work, after Ctrl-C or SIGTERM."""
    from nas_sv2.api.arguments import sigterm_interrupts

    try:
        with sigterm_interrupts():
            yield
    except KeyboardInterrupt:
        say("interrupted; the same command goes on", error=True)
        raise


def ask_first(question: str) -> None:
    """Ask the user before something is removed.

    Raises:
        ConfigError: Standard input is not a terminal.
        typer.Exit: The user declines.
    """
    if not sys.stdin.isatty():
        raise ConfigError(
            "yes", False, "must be given: this is not a terminal, so nobody can be asked"
        )
    say(f"{question} [y/N]", error=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Exit(1)


def counting_bar(*, quiet: bool = False) -> "Progress":
    """A progress bar on standard error; silent if that is not a terminal, or `quiet`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from nas_sv2.show.console import Console

    console = Console(stderr=True, soft_wrap=True, quiet=quiet)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )


def count_trainings(bar: "Progress") -> "Callable[[int, int], None]":
    """Return a function that shows how many trainings are done: a bar, or lines of a log."""
    task = bar.add_task("", total=None)

    def told(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if bar.disable:
            bar.console.print(f"{done} of {total} trainings")

    return told


@contextmanager
def waiting(text: str) -> "Iterator[Callable[[str], None]]":
    """Show a note on standard error while something runs; call what it gives to change it."""
    from rich.text import Text

    from nas_sv2.show.console import Console

    with Console(stderr=True).status(Text(shown(text)), spinner="line") as status:
        yield lambda line: status.update(Text(shown(line)))


def plan_field(option: str) -> str:
    """The field of a plan that an option sets, by the name of its parameter."""
    return "heat_s" if option == "sustained" else option


def plan_changes(
    runtime: str | None,
    precision: str | None,
    threads: int | None,
    batch: int | None,
    affinity: str | None,
    sustained: float | None = None,
    sessions: int | None = None,
) -> dict[str, Any]:
    """The fields of a target's plan that the user set, by name."""
    for field, number in (("threads", threads), ("batch", batch)):
        if number is not None and number < 1:
            raise ConfigError(field, number, "must be a whole number, at least 1")
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError("precision", precision, "must be one of " + ", ".join(PRECISIONS))
    changes = {
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
        "batch": batch,
        "affinity": None if affinity is None else _cores(affinity),
        "heat_s": None if sustained is None else _heat_s(sustained),
        "sessions": sessions,
    }
    return {name: value for name, value in changes.items() if value is not None}


def _cores(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(map(_is_whole, words)):
        raise ConfigError("affinity", text, "must be numbers of cores, as 0,1")
    return tuple(map(int, words))


def _heat_s(minutes: float) -> float:
    if not 0 < minutes <= MOST_MINUTES:
        raise ConfigError(
            "sustained", minutes, f"must be above 0 minutes and at most {MOST_MINUTES}"
        )
    return 60 * minutes
