"""The script that checks a change, `.ci/run`."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"


@pytest.mark.parametrize(("step", "status"), [("true", 0), ("exit 3", 3), ("sleep 9 & exit 4", 4)])
def test_its_status_is_that_of_its_steps(tmp_path: Path, step: str, status: int) -> None:
    """Cleaning up must not change it: nothing runs any more when all went well."""
    text = SCRIPT.read_text()
    head = text[: text.index("\n", text.index("trap "))]
    (tmp_path / ".ci").mkdir()
    own = tmp_path / ".ci" / "run"
    own.write_text(f"{head}\n{step}\n")
    assert subprocess.run(["bash", str(own)], timeout=5).returncode == status
