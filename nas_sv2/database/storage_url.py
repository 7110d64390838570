"""A database URL as it may be shown: a password is never printed, logged or stored."""

import re

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

HIDDEN = "***"
_SECRET = re.compile(r"pass|secret|token", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=:)(?!//).*(?=@)")


def without_password(url: str) -> str:
    """`url` with its password hidden, and without one among the parameters behind the `?`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # no URL, or one with a port that is none
        return _CREDENTIALS.sub(HIDDEN, url)
    if "@" in (parsed.host or ""):  # the end of a password that holds one
        return _CREDENTIALS.sub(HIDDEN, url)
    secrets = [name for name in parsed.query if _SECRET.search(name)]
    return parsed.difference_update_query(secrets).render_as_string(hide_password=True)
