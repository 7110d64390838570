"""Read the address of a database: the name of an SQLite file, or a URL.

A URL is taken only if there is one way to split it. A password with raw signs could else be cut:
its end would be taken for a host, which is shown and asked of DNS.
"""

import os
import re
import stat
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from sqlalchemy import URL
from sqlalchemy.engine import make_url

from nas_sv2.database.restarts import LIBPQ
from nas_sv2.database.turns import SQLITE
from nas_sv2.errors import ConfigError
from nas_sv2.folders import expanded
from nas_sv2.passwords import HIDDEN, remember

SQLITE_DRIVERS = (SQLITE, f"{SQLITE}+pysqlite")
ALLOWED = "must be a file, sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
SPLIT = (
    "must be postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, and in its parts each of "
    "@ / # ? : % percent-encoded, such as %40 for @"
)

ENDINGS = (".db", ".db3", ".sqlite", ".sqlite3")
"""Of a file that is to be made; another word is more likely a slip than a name of a file."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SERVER = re.compile(
    r"[a-z0-9+]+://"
    r"(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^:@/?#]*))?@)?"
    r"(?:[\w.-]*|\[[\w:.%]+\])(?::\d{1,5})?"
    r"(?:/[^:@/?#]*)?"
    r"(?:\?(?P<query>[^@?#]*))?"
)
_HEADER = b"SQLite format 3\0"
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def address_of(text: str) -> URL:
    """Return the address of the database that `text` names; its passwords are hidden from now on.

    Args:
        text: A file name, as `studies.db` or `~/studies.db`, or a URL.

    Raises:
        ConfigError: The text does not name an SQLite file or a PostgreSQL database for certain,
            the file cannot be a database, or the driver is not installed.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _of_file(text)
    if scheme in SQLITE_DRIVERS:
        return _of_sqlite(text, rest)
    if scheme in LIBPQ:
        return _of_server(text, scheme)
    known = _SCHEME.fullmatch(f"{scheme}:")
    raise ConfigError("storage", f"{scheme}://{HIDDEN}" if known else HIDDEN, ALLOWED)


def is_database(file: Path) -> bool:
    """Return whether a file begins as an SQLite database does."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            return opened.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def _of_file(text: str) -> URL:
    """Return the address of a file; refuse a text that could be a URL."""
    scheme = None if text.startswith(("/", "./", "../", "~")) else _SCHEME.match(text)
    if (
        scheme
        or text.strip() in ("", ":memory:")
        or (":" in text and "@" in text and text[0] not in "/.~")
    ):
        is_safe = not text.strip() or (scheme and scheme[1] in SQLITE_DRIVERS)
        sentence = f"{ALLOWED}; a file with a colon in its name is ./FILE"
        raise ConfigError("storage", text if is_safe else HIDDEN, sentence)
    file = expanded("storage", text)
    address = _checked(text, URL.create(SQLITE, database=str(file)))
    if not file.exists() and file.suffix not in ENDINGS:
        endings = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        raise ConfigError("storage", text, f"{ALLOWED}; a new file ends in {endings}")
    return address


def _of_sqlite(text: str, rest: str) -> URL:
    name = rest.removeprefix("/")
    if name == rest or name in ("", ":memory:") or name.startswith("file:"):
        shown = f"{SQLITE}://{HIDDEN}" if "@" in rest.partition("/")[0] else text
        raise ConfigError("storage", shown, "must be a file, as sqlite:///FILE")
    address = make_url(text)
    if address.query:
        raise ConfigError("storage", text, "must be sqlite:///FILE without parameters")
    file = expanded("storage", address.database or "")
    return _checked(text, address.set(database=str(file)))


def _checked(text: str, address: URL) -> URL:
    """Refuse a path that cannot be a database, or that SQLAlchemy would read differently."""
    name = address.database or ""
    if not name.isprintable() or make_url(address.render_as_string()).database != name:
        raise ConfigError("storage", text, "must be a file with a name that fits into a URL")
    try:
        found = os.stat(name)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(os.path.abspath(name))):
            sentence = "must be a file in a folder that exists"
            raise ConfigError("storage", text, sentence) from None
    except OSError as error:
        sentence = f"must be a file that can be reached ({error.strerror})"
        raise ConfigError("storage", text, sentence) from None
    else:
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise ConfigError("storage", text, f"must be a file; this is {kind}")
    return address


def _of_server(text: str, scheme: str) -> URL:
    parts, shown = _SERVER.fullmatch(text), f"{scheme}://{HIDDEN}"
    pieces = (parts["query"] or "").split("&") if parts else []
    if not parts or _BARE_PERCENT.search(text) or not all("=" in each for each in pieces if each):
        raise ConfigError("storage", shown, SPLIT)
    password = parts["password"] or ""
    secrets = [value for name, value in parse_qsl(parts["query"] or "") if "pass" in name]
    for each in (password, unquote(password), *secrets):
        remember(each)
    address = make_url(text)
    if (address.password or "") != unquote(password):  # another version splits differently
        raise ConfigError("storage", shown, SPLIT)
    driver = address.get_dialect().driver
    if find_spec(driver) is None:
        raise ConfigError("storage", shown, f"needs {driver}: pip install 'nas-sv2[postgres]'")
    return address
