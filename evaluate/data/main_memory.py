"""The main memory for this process: the machine's, or less by the control groups of Linux."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS, HIERARCHIES = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory_bytes() -> int:
    """Return the main memory of this machine, or the least limit on it.

    Containers and systemd set limits: docker --memory, Kubernetes limits.memory, MemoryMax.
    """
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([whole, *_limits()])


def _limits() -> Iterator[int]:
    """Read the limits of the groups of this process, and of the groups around them.

    A container may name its group by a path that it does not see. Its own limit is at the top.
    """
    with suppress(OSError):
        for line in GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                top, file = HIERARCHIES / "memory", "memory.limit_in_bytes"  # version 1
            elif not controllers:
                top, file = HIERARCHIES, "memory.max"  # version 2
            else:
                continue
            group = Path(path.lstrip("/"))
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):  # no such folder, or "max"
                    yield int((top / folder / file).read_text())
