"""Write a report to files: one page of HTML, or Markdown with a picture beside it."""

from collections.abc import Callable
from pathlib import Path

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.studies.report.facts import ReportFacts, read_report
from nas_sv2.studies.report.network_card import WinnerProfiles

PICTURE = ".png"
FORMS = ("html", "md")


def write_report(
    db: Database,
    study: str,
    path: Path,
    form: str | None,
    operators: bool,
    told: Callable[[str], None],
) -> list[Path]:
    """Write the report of a study and return the written files.

    Args:
        db: The database of the study.
        study: The name of the study.
        path: The file to write.
        form: `html` or `md`; None for the ending of the path.
        operators: Whether to time the operators of the front on measured targets now.
        told: Called with the name of each slow step.

    Raises:
        ConfigError: The path or the form is not allowed, or the study has no finished trial.
        StoreError: The database cannot be read.
    """
    chosen = form or ("md" if path.suffix == ".md" else "html")
    if chosen not in FORMS:
        raise ConfigError("form", chosen, "must be one of " + ", ".join(FORMS))
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError("out", str(path), "must name a file in a folder that exists")
    if chosen == "md" and path.suffix == PICTURE:
        raise ConfigError("out", str(path), f"must end differently: the picture is {path.name}")
    report = read_report(db, study, WinnerProfiles(db, operators, told))
    told("drawing")
    return _write_page(report, path) if chosen == "html" else _write_markdown(report, path)


def _write_page(report: ReportFacts, path: Path) -> list[Path]:
    from nas_sv2.studies.report.page import report_page

    _write(path, report_page(report))
    return [path]


def _write_markdown(report: ReportFacts, path: Path) -> list[Path]:
    from nas_sv2.studies.report.front_picture import draw_front
    from nas_sv2.studies.report.markdown import report_markdown

    picture = path.with_suffix(PICTURE)
    _write(path, report_markdown(report, picture.name))
    draw_front(report, picture)
    return [path, picture]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "out", str(path), f"must be a writable file ({error.strerror})"
        ) from None
