"""The memory of a process in control groups of version 1 and 2, nested, and without any."""

from pathlib import Path

import pytest

from nas_sv2.evaluate.data import main_memory
from nas_sv2.evaluate.fitting import determinism

GIB = 1 << 30
NO_LIMIT_1 = 9223372036854771712
LIMITS: dict[str, tuple[str, dict[str, object], int]] = {
    "no control groups": ("", {}, 64),
    "version 2, no limit": ("0::/", {"memory.max": "max"}, 64),
    "version 2, in a container": ("0::/", {"memory.max": 3 * GIB}, 3),
    "version 2, the least of the groups around": (
        "0::/a/b",
        {"a/memory.max": 4 * GIB, "a/b/memory.max": "max", "memory.max": 9 * GIB},
        4,
    ),
    "version 1, no limit": (
        "4:memory:/a\n0::/",
        {"memory/a/memory.limit_in_bytes": NO_LIMIT_1},
        64,
    ),
    "version 1, nested": (
        "3:cpu:/b\n4:memory:/pod/a",
        {"memory/pod/memory.limit_in_bytes": 5 * GIB, "memory/b/memory.limit_in_bytes": GIB},
        5,
    ),
    "version 1, a container that does not see its path": (
        "4:memory:/docker/abc",
        {"memory/memory.limit_in_bytes": 2 * GIB},
        2,
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_memory_is_that_of_the_container(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, files, gib = LIMITS[case]
    (tmp_path / "cgroup").write_text(groups)
    for name, limit in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{limit}\n")
    monkeypatch.setattr(main_memory, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(main_memory, "HIERARCHIES", tmp_path)
    pages = {"SC_PHYS_PAGES": 64 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    monkeypatch.setattr(determinism, "core_count", lambda: 100)
    assert main_memory.memory_bytes() == gib * GIB
    assert determinism.useful_workers(None, 1000) == gib
