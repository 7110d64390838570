"""An OpenSSH server of this machine's own on a loopback port, with throw-away keys."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.latency.devices.ssh import SshHost

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SEPARATION = Path("/run/sshd")  # the server wants it when it runs as root


def why_not() -> str:
    """Why no server can be started here; empty if one can."""
    if SSHD is None or shutil.which("ssh") is None:
        return "no OpenSSH server here; on Debian and Ubuntu: apt-get install openssh-server"
    if os.getuid() == 0 and not SEPARATION.is_dir():
        try:
            SEPARATION.mkdir(mode=0o755)
        except OSError as error:
            return f"{SEPARATION} is missing: {error}"
    return ""


@dataclass
class SshServer:
    """The server and what a client needs to know of it."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Keys, and configurations of both sides."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("host", "user", "stranger"):
            self._key(name)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin yes\nPermitUserEnvironment no\nMaxStartups 100\n"
        )
        self.know("host")
        (self.folder / "ssh_config").write_text(
            "Host *\n"
            f"  IdentityFile {self.folder}/user\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        )

    def know(self, *keys: str) -> None:
        """Let the client know these host keys, and no others."""
        lines = []
        for key in keys:
            kind, text, *_ = (self.folder / f"{key}.pub").read_text().split()
            lines.append(f"[127.0.0.1]:{self.port} {kind} {text}\n")
        (self.folder / "known_hosts").write_text("".join(lines))

    def start(self) -> None:
        """Start the server and wait until it listens."""
        assert SSHD is not None
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def kill(self) -> None:
        """End the server with all its connections, as a crash does."""
        if self.process is None:
            return
        for process in _family(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def restart(self) -> None:
        """End it with all its connections, and start it again."""
        self.kill()
        self.start()

    def connections(self) -> int:
        """How many it has accepted so far."""
        return (self.folder / "sshd.log").read_text().count("Accepted publickey")

    def host(self, python: str = sys.executable) -> SshHost:
        """How to reach it."""
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        config = str(self.folder / "ssh_config")
        return SshHost(f"{user.stdout.strip()}@127.0.0.1", self.port, python, config)

    def _key(self, name: str) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name]
        subprocess.run([*command, "-f", str(self.folder / name)], check=True)


def _family(parent: int) -> list[int]:
    """A process and the servers that it has started, each in a session of its own."""
    command = ["ps", "-A", "-o", "pid=,ppid=,comm="]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in said.splitlines()]
    found = [parent]
    for process in found:
        found += [int(pid) for pid, of, what in rows if int(of) == process and "sshd" in what]
    return found
