"""`report`: a study as one page to read, or as Markdown for a pull request."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import STORAGE, Storage, StudyName
from nas_sv2.errors import ConfigError

if TYPE_CHECKING:
    from nas_sv2.studies.report.facts import Facts

PICTURE = ".png"
FORMATS = ("html", "md")


def report(
    study: StudyName,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; report.html or report.md if left out."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="html or md (with a PNG beside it); as --out ends if left out."
        ),
    ] = None,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators/--no-operators",
            help="Time the operators of the front on measured targets now.",
        ),
    ] = False,
    storage: Storage = STORAGE,
) -> None:
    """Write a study as one self-contained page: front, networks, what was pruned, how to repeat.

    Opens from disk without a network. Markdown holds the same in short.
    """
    from rich.console import Console

    from nas_sv2.studies.report.facts import facts_of
    from nas_sv2.studies.report.network_card import WinnerProfiles

    chosen = form or ("md" if out is not None and out.suffix == ".md" else "html")
    if chosen not in FORMATS:
        raise ConfigError("form", chosen, "must be one of " + ", ".join(FORMATS))
    path = out or Path(f"report.{chosen}")
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError("out", str(path), "must name a file in a folder that exists")
    if chosen == "md" and path.suffix == PICTURE:
        raise ConfigError("out", str(path), f"must end differently: the picture is {path.name}")
    with Console(stderr=True).status("reading the study") as status:
        facts = facts_of(storage, study, WinnerProfiles(storage, operators, status.update))
        status.update("drawing")
        written = _write_html(facts, path) if chosen == "html" else _write_md(facts, path)
    print("written: " + ", ".join(map(str, written)))


def _write_html(facts: "Facts", path: Path) -> list[Path]:
    from nas_sv2.studies.report.page import report_page

    _write(path, report_page(facts))
    return [path]


def _write_md(facts: "Facts", path: Path) -> list[Path]:
    from nas_sv2.studies.report.front_picture import draw_front
    from nas_sv2.studies.report.markdown import report_markdown

    picture = path.with_suffix(PICTURE)
    _write(path, report_markdown(facts, picture.name))
    draw_front(facts, picture)
    return [path, picture]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "out", str(path), f"must be a writable file ({error.strerror})"
        ) from None
