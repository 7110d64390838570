"""A wall clock that jumps by hours in the middle of a search, that of one worker of two."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from postgres import Postgres
from worker_group import FINISHED, check, worker_group

from nas_sv2.database.database import Database
from nas_sv2.studies.storage.study import load_study

CLOCK = Path(__file__).parents[2] / "stand_ins" / "clock.c"
JUMPS_S = (18_000, -18_000, 0, 86_400 * 400, -86_400 * 400)
TRIALS = 14


@pytest.fixture
def jumping(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is ahead as the file CLOCK_AHEAD says."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler, and the system's clock is not ours to set")
    library = tmp_path / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    return {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(ahead)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_neither_leases_nor_records_go_by_the_wall_clock(
    kind: str, jumping: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        storage = server.database()
    board, ahead = tmp_path / "board", Path(jumping["CLOCK_AHEAD"])
    board.mkdir()
    with (
        worker_group(storage, TRIALS, 1, seconds=0.6, expires_s=5, board=str(board)) as steady,
        worker_group(
            storage, TRIALS, 1, seconds=0.6, expires_s=5, board=str(board), environment=jumping
        ) as odd,
    ):
        jumps = itertools.cycle(JUMPS_S)
        while odd.process.poll() is None:
            ahead.write_text(str(next(jumps)))
            odd.until_over(0.5)
        assert odd.over(120) == 0
        assert steady.over(120) == 0
    assert odd.told[-1] == steady.told[-1] == FINISHED
    assert min(odd.finished, steady.finished) > 0
    assert odd.finished + steady.finished == TRIALS
    check(storage, TRIALS)
    trials = load_study(Database.open(storage), "s").get_trials()
    assert not any("retry_of" in trial.user_attrs for trial in trials)
    years = {trial.datetime_start.year for trial in trials if trial.datetime_start is not None}
    assert len(years) > 1, "the clock did jump"
    spans = [line.split() for line in (board / "measured").read_text().splitlines()]
    ordered = sorted((float(began), float(ended)) for began, ended in spans)
    for (_, ended), (began, _) in itertools.pairwise(ordered):
        assert ended <= began, "one at a time on the device"
