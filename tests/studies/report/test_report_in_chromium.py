"""The report's page in a real browser: nothing is complained of, and the points are drawn.

CI has no browser unless one is installed there; without one these tests are skipped and say so.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from scripted_study import ScriptedStudy

from nas_sv2.database.database import Database
from nas_sv2.studies.report.facts import ReportFacts, read_report
from nas_sv2.studies.report.network_card import OperatorProfiles
from nas_sv2.studies.report.write import report_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
PHONE = 360

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportFacts:
    url = f"sqlite:///{tmp_path_factory.mktemp('told')}/s.db"
    name = "</script><script>alert(1)</script>"
    ScriptedStudy(url, name=name).all(found=9)
    return read_report(
        Database.open(url), name, OperatorProfiles(Database.open(url), False, lambda _: None)
    )


def opened(page: Path, *options: str) -> tuple[str, str]:
    """The document after its scripts have run, and what the browser said."""
    assert BROWSER is not None
    profile = page.parent / "profile"
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"),
        *("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", *options),
        page.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True)
    return run.stdout, run.stderr


def test_it_opens_from_disk_without_a_complaint_and_draws_every_point(
    report: ReportFacts, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_page(report))
    document, said = opened(page, "--window-size=1280,900")
    assert "CONSOLE" not in said, said
    panels = 3  # cpu, arm, multiply-adds
    points = re.findall(r'<path class="point"', document)
    assert len(points) == panels * len(report.study.records)
    bars = re.findall(r'<g class="point"', document)
    turned_away = 5  # three rejected, one known, one failed
    assert len(bars) >= len(report.study.records) + turned_away  # and trainings
    assert document.count('class="xerror"') > 0  # of measured latencies


def test_nothing_is_wider_than_a_phone(report: ReportFacts, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(report_page(report))
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe src=report.html width={PHONE} height=800 style='border:0'"
        ' onload="setTimeout(() =>'
        " document.title = 'wide ' + this.contentDocument.documentElement.scrollWidth, 3000)\">"
        "</iframe>"
    )
    document, _ = opened(frame, "--allow-file-access-from-files")
    found = re.search(r"<title>wide (\d+)</title>", document)
    assert found and int(found[1]) <= PHONE
