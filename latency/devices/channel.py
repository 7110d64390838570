"""A running agent: framed requests in, lines of JSON out, and an end within a time limit.

One loop serves the three pipes. An agent that stops reading, floods stderr or never answers
therefore cannot block this process.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Self

from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError

CHUNK = 1 << 16  # bytes moved at a time: the size of a Linux pipe
LONGEST_ANSWER = 1 << 24  # bytes; 2000 runs take 50 kB, so a longer answer is a fault
STDERR_KEPT = 4000  # bytes: enough for the end of a traceback
GRACE_S = 2.0  # for an agent to exit after stdin is closed; Python takes 0.1 s


@dataclass(slots=True, eq=False)
class Channel:
    """The pipes to one agent process.

    It is not frozen: it holds the bytes read so far.

    Attributes:
        name: The name of the device, for errors.
        process: The agent, leader of its own process group.
        greeted: Whether the agent has sent its greeting.
    """

    name: str
    process: subprocess.Popen[bytes]
    greeted: bool = False
    _unsent: bytearray = field(default_factory=bytearray)
    _unread: bytearray = field(default_factory=bytearray)
    _stderr: bytearray = field(default_factory=bytearray)

    @classmethod
    def open(cls, name: str, command: Sequence[str]) -> Self:
        """Start `command` without waiting for it.

        Raises:
            DeviceError: The command cannot be started.
        """
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is ours to handle; one group to kill
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise DeviceError(f"{name}: cannot start {command[0]!r}: {reason}") from error
        for pipe in (process.stdin, process.stdout, process.stderr):
            os.set_blocking(_descriptor(pipe), False)
        return cls(name, process)

    def send(self, data: bytes) -> None:
        """Send as much as the pipe takes now; `receive` sends the rest."""
        self._unsent += data
        self._write()

    def receive(self, deadline: float) -> Mapping[str, Any]:
        """Wait for the next answer.

        Args:
            deadline: A time of `time.monotonic()`, in seconds.

        Raises:
            ConnectionLost: The agent or the connection to it ended.
            MeasurementError: The agent did not answer in time, or its answer is not valid.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(_descriptor(self.process.stdout), selectors.EVENT_READ, self._read)
            selector.register(_descriptor(self.process.stderr), selectors.EVENT_READ, self._listen)
            stdin = _descriptor(self.process.stdin)
            if self._unsent:
                selector.register(stdin, selectors.EVENT_WRITE, self._write)
            while b"\n" not in self._unread:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise MeasurementError(f"{self.name}: no answer within the time limit")
                for key, _ in selector.select(left):
                    if not key.data():
                        selector.unregister(key.fd)
                if not self._unsent and stdin in selector.get_map():
                    selector.unregister(stdin)
                if _descriptor(self.process.stdout) not in selector.get_map():
                    raise self._lost()
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread[:] = rest
        return self._parsed(line)

    def close(self) -> None:
        """Let the agent exit, and kill it if it does not."""
        if self.process.stdin:
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the agent and its child processes."""
        # No process left: ProcessLookupError, on macOS PermissionError.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def _write(self) -> bool:
        try:
            sent = os.write(_descriptor(self.process.stdin), self._unsent[:CHUNK])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it died; `receive` says how
            self._unsent.clear()
            return False
        del self._unsent[:sent]
        return True

    def _read(self) -> bool:
        chunk = os.read(_descriptor(self.process.stdout), CHUNK)
        self._unread += chunk
        if len(self._unread) > LONGEST_ANSWER:
            raise MeasurementError(f"{self.name}: the agent writes without end")
        return bool(chunk)

    def _listen(self) -> bool:
        chunk = os.read(_descriptor(self.process.stderr), CHUNK)
        self._stderr += chunk
        del self._stderr[:-STDERR_KEPT]
        return bool(chunk)

    def _parsed(self, line: bytes) -> Mapping[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            text = line[:200].decode(errors="replace")
            raise MeasurementError(f"{self.name}: the agent answered {text!r}, which is no answer")
        return answer

    def _lost(self) -> ConnectionLost:
        """Return an error that says how the agent ended, with its last line on stderr."""
        try:
            code = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return ConnectionLost(f"{self.name}: the agent closed its stdout")
        while _readable(self.process.stderr) and self._listen():
            pass
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        words = self._stderr.decode(errors="replace").strip()
        last = f": {words.splitlines()[-1].strip()}" if words else ""
        return ConnectionLost(f"{self.name}: the agent {ended}{last}", words)


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None, "all three pipes are opened"
    return pipe.fileno()


def _readable(pipe: IO[bytes] | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(_descriptor(pipe), selectors.EVENT_READ)
        return bool(selector.select(0))
