"""Options that change how a target is measured, for `measure` and `device grade`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_sv2.errors import ConfigError

if TYPE_CHECKING:
    pass

MOST_MINUTES = 24 * 60
PRECISIONS = ("fp32", "int8", "fp16")

Precision = Annotated[
    str | None,
    typer.Option("--precision", help="fp32; int8 with onnxruntime on a CPU, fp16 on a GPU."),
]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads within an operator.")]
Batch = Annotated[int | None, typer.Option("--batch", help="Images a run.")]
Affinity = Annotated[str | None, typer.Option("--affinity", help="Cores to run on, as 0,1.")]


def plan_changes(
    precision: str | None,
    threads: int | None,
    batch: int | None,
    affinity: str | None,
    sustained: float | None = None,
) -> dict[str, Any]:
    """The fields of a target's plan that the user set, by name."""
    for field, number in (("threads", threads), ("batch", batch)):
        if number is not None and number < 1:
            raise ConfigError(field, number, "must be a whole number, at least 1")
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError("precision", precision, "must be one of " + ", ".join(PRECISIONS))
    changes = {
        "precision": precision,
        "threads": threads,
        "batch": batch,
        "affinity": None if affinity is None else _cores(affinity),
        "heat_s": None if sustained is None else _heat_s(sustained),
    }
    return {name: value for name, value in changes.items() if value is not None}


def _cores(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and word.isascii() for word in words):
        raise ConfigError("affinity", text, "must be numbers of cores, as 0,1")
    return tuple(map(int, words))


def _heat_s(minutes: float) -> float:
    if not 0 < minutes <= MOST_MINUTES:
        raise ConfigError(
            "sustained", minutes, f"must be above 0 minutes and at most {MOST_MINUTES}"
        )
    return 60 * minutes
