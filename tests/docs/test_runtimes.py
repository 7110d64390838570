"""docs/reference/runtimes.md says what the runtimes do that are installed here."""

import subprocess
import sys
from pathlib import Path

import pytest
import runtimes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "runtimes.py"


@pytest.mark.slow
def test_the_page_says_what_the_runtimes_do(tmp_path: Path) -> None:
    for action in ("make", "check"):
        subprocess.run([sys.executable, SCRIPT, action, tmp_path], check=True)


def test_every_runtime_has_a_row() -> None:
    assert {name for name, _ in runtimes.stated()} == runtimes.RUNTIMES.keys()
