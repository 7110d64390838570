"""A running agent: framed requests in, lines of JSON out, and an end within a time limit.

One loop serves the three pipes. An agent that stops reading, floods stderr or never answers
therefore cannot block this process.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Self

from nas_sv2.errors import ConnectionLost, DeviceError, MeasurementError
from nas_sv2.plain_data import parse_json, printable

CHUNK = 1 << 16  # bytes moved at a time: the size of a Linux pipe
LONGEST_ANSWER = 1 << 24  # bytes; 2000 runs take 50 kB, so a longer answer is a fault
LONGEST_BANNER = 1 << 16  # bytes that a login shell may print before the agent's greeting
STDERR_KEPT = 4000  # bytes: enough for the end of a traceback
LINES_SHOWN, CHARACTERS_SHOWN = 20, 2000  # of stderr in an error, from its end
STALL_S = 60.0  # without a byte taken; ssh notices a lost connection after 30 s
SLOWEST_BYTES_PER_S = 100_000
"""The slowest connection that is waited for; 500 MB then take 83 minutes."""
RECEIVED = {"received": True}
"""The agent's line after it has taken a request and its networks."""
GRACE_S = 2.0  # for an agent to exit after stdin is closed; Python takes 0.1 s


@dataclass(slots=True, eq=False)
class Channel:
    """The pipes to one agent process.

    It is not frozen: it holds the bytes read so far.

    Attributes:
        name: The name of the device, for errors.
        process: The agent, leader of its own process group.
        program: The program that starts the agent, such as `ssh`.
        greeted: Whether the agent has sent its greeting.
    """

    name: str
    process: subprocess.Popen[bytes]
    program: str
    greeted: bool = False
    _unsent: bytearray = field(default_factory=bytearray)
    _unread: bytearray = field(default_factory=bytearray)
    _stderr: bytearray = field(default_factory=bytearray)
    _banner: bytearray = field(default_factory=bytearray)
    _listens: bool = True

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
        return cls(name, process, command[0])

    def send(self, data: bytes) -> None:
        """Send as much as the pipe takes now; `greeting` and `receive` send the rest."""
        self._unsent += data
        self._write()

    def greeting(self, key: str, timeout_s: float) -> Mapping[str, Any]:
        """Wait for a line that ends in an object whose first name is `key`.

        A login shell may print before it, even without a line end. That text is skipped.

        Raises:
            ConnectionLost: The program that starts the agent ended, or the connection to it.
            MeasurementError: No such line came in time, or too much before it.
        """
        start, deadline = f'{{"{key}":'.encode(), time.monotonic() + timeout_s
        while True:
            line = self._line(deadline, f"no greeting of the agent within {timeout_s:g} s")
            place = line.rfind(start)
            if place >= 0:
                self.greeted = True
                return self._parsed(line[place:])
            self._banner += line + b"\n"
            if len(self._banner) > LONGEST_BANNER:
                raise self._unanswered("no greeting of the agent among all that it prints")

    def receive(self, timeout_s: float) -> Mapping[str, Any]:
        """Send the rest, and wait for the next answer.

        Args:
            timeout_s: The time for the answer, in seconds, from when the agent has everything.
                Sending may take `sending_s` more.

        Raises:
            ConnectionLost: The agent or the connection to it ended.
            MeasurementError: The agent did not answer in time, or its answer is not valid.
        """
        self._send_rest()
        late = f"no answer within the time limit, {timeout_s:g} s after everything was sent"
        answer = self._parsed(self._line(time.monotonic() + timeout_s, late))
        if answer == RECEIVED:  # until now, bytes may have been under way
            answer = self._parsed(self._line(time.monotonic() + timeout_s, late))
        return answer

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

    def _send_rest(self) -> None:
        """Send what the pipe has not taken yet."""
        size, began = len(self._unsent), time.monotonic()
        left, moved = size, began
        while self._unsent:
            now = time.monotonic()
            if len(self._unsent) < left:
                left, moved = len(self._unsent), now
            if now > min(moved + STALL_S, began + sending_s(size)):
                raise MeasurementError(
                    f"{self.name}: sending took too long: {(size - left) / 1e6:.1f} of "
                    f"{size / 1e6:.1f} MB in {now - began:.0f} s"
                )
            self._move(1.0)

    def _line(self, deadline: float, late: str) -> bytes:
        """Wait for a line until `deadline`, by `time.monotonic()`; `late` says why it failed."""
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._unanswered(late)
            self._move(left)
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread[:] = rest
        return line

    def _move(self, longest_s: float) -> None:
        """Wait at most `longest_s` seconds for a pipe, and move a chunk of each that is ready.

        Raises:
            ConnectionLost: The agent closed its stdout.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(_descriptor(self.process.stdout), selectors.EVENT_READ, self._read)
            if self._listens:
                stderr = _descriptor(self.process.stderr)
                selector.register(stderr, selectors.EVENT_READ, self._listen)
            if self._unsent:
                stdin = _descriptor(self.process.stdin)
                selector.register(stdin, selectors.EVENT_WRITE, self._write)
            for key, _ in selector.select(longest_s):
                key.data()

    def _write(self) -> None:
        try:
            sent = os.write(_descriptor(self.process.stdin), self._unsent[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # it died; reading from it says how
            self._unsent.clear()
            return
        del self._unsent[:sent]

    def _read(self) -> None:
        chunk = os.read(_descriptor(self.process.stdout), CHUNK)
        if not chunk:
            raise self._lost()
        self._unread += chunk
        if len(self._unread) > LONGEST_ANSWER:
            raise MeasurementError(f"{self.name}: the agent writes without end")

    def _listen(self) -> None:
        chunk = os.read(_descriptor(self.process.stderr), CHUNK)
        self._stderr += chunk
        self._listens = bool(chunk)
        del self._stderr[:-STDERR_KEPT]

    def _parsed(self, line: bytes) -> Mapping[str, Any]:
        try:
            answer = parse_json(line)
            if isinstance(answer, dict):
                return answer
            reason = ""
        except ValueError as error:
            reason = f" ({printable(str(error), 100)})"
        said = line[:200].decode(errors="replace")
        answered = f"{self.name}: the agent answered {said!r}"
        raise MeasurementError(f"{answered}, which is no answer{reason}")

    def _unanswered(self, late: str) -> MeasurementError:
        """Return an error for an agent that does not answer; a login shell may be the reason."""
        if self.greeted or not self._banner:
            return MeasurementError(f"{self.name}: {late}")
        return MeasurementError(
            f"{self.name}: {late}, but {_shown(self._banner)!r}; let the login shell there print "
            "to terminals only: [ -t 1 ] || return, at the top of ~/.bashrc"
        )

    def _lost(self) -> ConnectionLost:
        """Return an error that says how the agent ended, with the end of its stderr."""
        program = "the agent" if self.greeted else self.program
        try:
            code = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return ConnectionLost(f"{self.name}: {program} closed its stdout")
        while self._listens and _readable(self.process.stderr):
            self._listen()
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        # Some programs, such as older adb, print errors of the device on stdout.
        words = (
            self._stderr if self._stderr.strip() or self.greeted else self._banner + self._unread
        )
        said = f": {_shown(words)}" if words.strip() else ""
        return ConnectionLost(
            f"{self.name}: {program} {ended}{said}", words.decode(errors="replace")
        )


def sending_s(size: int) -> float:
    """Return the time limit of sending `size` bytes, in seconds."""
    return STALL_S + size / SLOWEST_BYTES_PER_S


def _shown(text: bytearray) -> str:
    """Return the last lines of a program's output in one line, without frames of a traceback."""
    kept, in_traceback = [], False
    for line in text.decode(errors="replace").splitlines():
        in_traceback = line.startswith("Traceback (") or (in_traceback and line[:1].isspace())
        if line.strip() and not in_traceback:
            kept.append("".join(c for c in line.strip() if c.isprintable()))
    return " | ".join(kept[-LINES_SHOWN:])[-CHARACTERS_SHOWN:]


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None, "all three pipes are opened"
    return pipe.fileno()


def _readable(pipe: IO[bytes] | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(_descriptor(pipe), selectors.EVENT_READ)
        return bool(selector.select(0))
