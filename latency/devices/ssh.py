"""A device behind the system's OpenSSH: the user's keys, known hosts, aliases and jump hosts.

Nothing is copied to the host: the agent travels over stdin. No password is asked for, and a host
key that the user has not accepted before is refused.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from nas_sv2.documents import check_fields
from nas_sv2.errors import ConfigError, DeviceError
from nas_sv2.latency.devices.launcher import check_python, python_arguments

OPTIONS = (
    "-T",  # no terminal: it would change the bytes
    *("-o", "BatchMode=yes"),  # fail rather than ask
    *("-o", "StrictHostKeyChecking=yes"),
    *("-o", "ConnectTimeout=10"),
    # A connection without an answer ends after 30 s; a plan's timeout is longer.
    *("-o", "ServerAliveInterval=10"),
    *("-o", "ServerAliveCountMax=3"),
    # No shared connection: it would outlive the process that we can kill.
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
    *("-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes"),
)
USER = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.+\\-]*[A-Za-z0-9_.+-])?@)?"  # Windows has DOMAIN\user
IPV6 = r"[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?"
HOST = re.compile(rf"{USER}(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|{IPV6})")
WITH_PORT = re.compile(
    rf"(?P<user>{USER})(?:\[(?P<ipv6>{IPV6})\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?"
)
OFFENDING = re.compile(r"Offending [\w-]+ key in \S+:\d+")
"""A line of ssh's; what a server prints may look like others."""
RESOLVE_TIMEOUT_S = 10.0
DIES_WITH_PARENT = (
    "exec('try:\\n import ctypes\\n ctypes.CDLL(None).prctl(1, 9)\\nexcept Exception: pass');"
)
"""Code that makes Linux kill the agent when its connection ends (PR_SET_PDEATHSIG).

It also ends an agent that hangs."""


def split_port(text: str, port: int | None) -> tuple[str, int | None]:
    """Split `user@host:2299` or `user@[::1]:2299` into a host and its port.

    Args:
        text: The host, with or without a port.
        port: The port that was given beside it; None if there is none.

    Raises:
        ConfigError: Two ports are given.
    """
    found = WITH_PORT.fullmatch(text)
    if found is None:
        return text, port  # IPv6 without brackets, or an error that `SshHost` reports
    host = found["user"] + (found["ipv6"] or found["name"])
    if found["port"] is None:
        return host, port
    if port not in (None, int(found["port"])):
        raise ConfigError("port", port, f"must be the port of {text}, or left out")
    return host, int(found["port"])


@dataclass(frozen=True, slots=True)
class SshHost:
    """A host that ssh connects to.

    Attributes:
        host: `user@host` or an alias of the user's ssh configuration.
        port: The port; None for the port of that configuration.
        python: Name or path of the python3 there; a relative path counts from the login directory.
        ssh_config: A configuration file in place of the user's.

    Raises:
        ConfigError: ssh or a shell could misread a value; the error names the field.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    python: str = "python3"
    ssh_config: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that ssh or a shell could misread."""
        check_fields(self)
        if not HOST.fullmatch(self.host):
            allowed = (
                "must be user@host, a host or an alias of ssh's; a port has a field of its own"
            )
            raise ConfigError("host", self.host, allowed)
        check_python(self.python)

    @property
    def key(self) -> str:
        """The address that ssh connects to; aliases of one address are one device.

        Raises:
            DeviceError: ssh is not installed, or cannot read its configuration.
        """
        command = ("ssh", *self._options, "-G", "--", self.host)
        try:
            said = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=RESOLVE_TIMEOUT_S,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise DeviceError(f"{self.host}: {error.stderr.strip()}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"{self.host}: ssh cannot be used: {error}") from error
        facts = dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)
        return f"ssh {facts.get('hostname', self.host)} {facts.get('port', '22')}"

    def command(self, code: str) -> tuple[str, ...]:
        """Return the ssh command; the remote shell parses its last argument once."""
        arguments = python_arguments(self.python, DIES_WITH_PARENT + code)
        return ("ssh", *OPTIONS, *self._options, "--", self.host, f"exec {shlex.join(arguments)}")

    def advice(self, words: str) -> str:
        """Return the remedy for a message of ssh's."""
        by_hand = shlex.join(("ssh", *self._options, self.host))
        said = [line.strip() for line in words.splitlines()]
        for line in said:
            if "REMOTE HOST IDENTIFICATION HAS CHANGED" in line:
                where = next((text for text in said if OFFENDING.fullmatch(text)), "")
                return (
                    f"the host's key is another than the one known ({where}). If you know why, "
                    "remove the old one with ssh-keygen -R, and compare the new one by hand: "
                    f"{by_hand}"
                )
        if "Host key verification failed" in words:
            return f"its key is not known here; connect once by hand and compare it: {by_hand}"
        if "Permission denied" in words:
            return f"it takes no key of yours, and no password is asked for: try {by_hand}"
        if f"{self.python}: not found" in words or f"{self.python}: No such file" in words:
            return "install python3 3.8 or later there, or give the path of one as python"
        return ""

    @property
    def _options(self) -> tuple[str, ...]:
        config = () if self.ssh_config is None else ("-F", self.ssh_config)
        return (*config, *(() if self.port is None else ("-p", str(self.port))))
