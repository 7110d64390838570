"""Names of processes, by which other processes of this host see whether they still run."""

import os
import re
import socket
import sys
from functools import cache
from pathlib import Path

_NAME = re.compile(r"(.*):([0-9]{1,9}):([0-9]+|\?)", re.S)


def process_name(pid: int | None = None) -> str | None:
    """Return `HOST@SYSTEM:PID:START` of a process of this host, or None if it does not run.

    The start time, which only Linux gives, distinguishes reused process numbers. `SYSTEM`
    distinguishes machines and containers of one host name.
    """
    pid = os.getpid() if pid is None else pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, under another user
    try:
        # Field 22 counts from after the command's name, which may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        started = fields[19]
    except OSError:
        started = "?"
    return f"{socket.gethostname()}@{_system()}:{pid}:{started}"


def is_alive(name: str) -> bool | None:
    """Return whether the process of this name still runs; None if it ran on another host."""
    form = _NAME.fullmatch(name)
    if form is None:  # of another program, or damaged
        return None
    where, pid, started = form.groups()
    host, _, system = where.rpartition("@")
    # An earlier version wrote the host alone.
    if (host, system) != (socket.gethostname(), _system()) and where != socket.gethostname():
        return None
    found = process_name(int(pid))
    return found is not None and found.rpartition(":")[2] == started


@cache
def _system() -> str:
    """Return a short id of the boot and the process namespace; empty if not on Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return boot + "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid")))
    except OSError:
        return ""


def in_words() -> str:
    """Describe this process: number, host and command, without its arguments."""
    program = Path(sys.argv[0]).stem if sys.argv else ""
    program = "nas-sv2" if program == "__main__" else program
    action = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isalpha() else ""
    doing = " ".join(filter(None, (program, action)))
    return f"process {os.getpid()} on {socket.gethostname()}" + (f" ({doing})" if doing else "")
