"""Hide passwords in every text that is shown, logged or stored.

No part of a URL between `//` and the last `@` is left, nor a secret among its parameters. The
passwords of databases that this process was given are hidden outside of URLs too.
"""

import re

HIDDEN = "***"
SHORTEST = 4
"""The shortest password that is hidden outside of a URL, in characters.

Shorter ones would match other text by chance."""

_USER_INFO = re.compile(r"(?<=://)(?!/)\S*@")  # after sqlite:// comes the / of a file
_PARAMETER = re.compile(r"([?&][\w.-]*(?:pas|pw|secret|token|key|cred)[\w.-]*=)[^&\s]*", re.I)
_known: set[str] = set()


def remember(password: str) -> None:
    """Hide this password in all texts from now on."""
    if len(password) >= SHORTEST:
        _known.add(password)


def masked(text: str) -> str:
    """Return `text` without passwords."""
    for password in sorted(_known, key=len, reverse=True):
        text = text.replace(password, HIDDEN)
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))
