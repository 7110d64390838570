"""Pieces of work in several processes; none of these stays behind."""

import os
import sys
import time
from pathlib import Path

import pytest
from pieces import no_data, process_of, squared, tunables
from running import running

from nas_sv2.database.processes import process_name
from nas_sv2.errors import EvaluationError
from nas_sv2.process_pool import in_processes

PROGRAM = """
import sys
from pieces import waits
from nas_sv2.process_pool import in_processes
if __name__ == "__main__":
    list(in_processes(waits, [sys.argv[1]] * 2, 2, "waits"))
"""


def gone(pid: int, within_s: float = 60.0) -> bool:
    ends = time.monotonic() + within_s
    while process_name(pid) is not None and time.monotonic() < ends:
        time.sleep(0.05)
    return process_name(pid) is None


def test_each_piece_comes_with_its_result() -> None:
    assert sorted(in_processes(squared, [1, 2, 3], 2, "squares")) == [(1, 1), (2, 4), (3, 9)]
    assert list(in_processes(squared, [], 2, "squares")) == []


def test_processes_have_huge_pages_and_what_they_start_has_not() -> None:
    [(_, found)] = in_processes(tunables, [0], 1, "looks")
    assert found == ("glibc.malloc.hugetlb=1", None)
    assert not {"GLIBC_TUNABLES", "NAS_SV2_HUGE_PAGES"} & os.environ.keys()


def test_the_users_own_settings_of_glibc_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    [(_, found)] = in_processes(tunables, [0], 1, "looks")
    assert found == ("glibc.malloc.check=1",) * 2
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=1"


def test_a_process_that_is_killed_is_told_in_a_line() -> None:
    with pytest.raises(EvaluationError, match=r"a process that squares was killed .*; run it ag"):
        list(in_processes(squared, [-1], 1, "squares"))


def test_an_error_before_the_first_piece_is_the_error_of_the_work() -> None:
    with pytest.raises(EvaluationError, match=r"^no data$"):
        list(in_processes(squared, [1, 2], 1, "squares", no_data))


def test_whoever_stops_listening_ends_the_processes() -> None:
    found = in_processes(process_of, [""] * 50, 1, "waits")
    _, pid = next(found)
    found.close()
    assert gone(pid)


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    folder = tmp_path / "processes"
    folder.mkdir()
    path = {"PYTHONPATH": ":".join(sys.path)}
    with running([sys.executable, str(tmp_path / "program.py"), str(folder)], env=path) as parent:
        while len(list(folder.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
        parent.wait()
        assert all(gone(int(file.name)) for file in folder.iterdir())
