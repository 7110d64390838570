"""Who runs a trial, so that the trials of a process that died can be told from running ones."""

import os
import socket
from pathlib import Path


def worker_name(pid: int | None = None) -> str | None:
    """`HOST:PID:START` of a process of this host, or None where it does not run.

    The start time keeps a reused process number apart where the system tells it (Linux).
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
    return f"{socket.gethostname()}:{pid}:{started}"


def is_alive(name: str) -> bool | None:
    """Whether the process of that name still runs; None where it ran on another host."""
    host, pid, _ = name.rsplit(":", 2)
    if host != socket.gethostname():
        return None
    return worker_name(int(pid)) == name
