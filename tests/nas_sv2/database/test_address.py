"""What names a database, and that no password of it is ever shown."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from nas_sv2 import passwords
from nas_sv2.database.address import address_of
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.passwords import HIDDEN, SHORTEST, masked

RAW = "@/#?:%"
PASSWORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SECRET = "s3cr3t"


def fresh(password: str, shown: str) -> None:
    """Forget the passwords of earlier examples; leave out one that is a part of what is shown."""
    passwords._known.clear()
    assume(len(password) < SHORTEST or password not in shown)


@given(PASSWORDS)
@example("p@ss/w:o#r%d {x}?&é")
def test_an_encoded_password_is_read_and_hidden(password: str) -> None:
    fresh(password, shown := f"postgresql+psycopg://{HIDDEN}@h.local:5432/db")
    url = f"postgresql+psycopg://boss:{quote(password, safe='')}@h.local:5432/db"
    db = Database.open(url)
    assert (db.address.password, db.address.host, db.address.database) == (
        password,
        "h.local",
        "db",
    )
    assert (masked(url), db.shown) == (shown, shown)
    assert repr(db) == f"Database('{shown}')"
    if len(password) >= SHORTEST and password not in f"{shown} ***":
        assert str(StoreError(f"{url} {password}")) == f"{shown} {HIDDEN}"


@given(PASSWORDS, st.sampled_from(["h.local/db", "h", ""]))
@example("S3cr@t/K3y@127.0.0.1:5432", "h.local/db")
@example("a/b", "h.local/db")
@example("50%off", "h.local/db")
def test_a_raw_password_is_read_for_certain_or_refused_unquoted(password: str, rest: str) -> None:
    """No part of it becomes a host, which would be asked of DNS."""
    passwords._known.clear()
    url = f"postgresql+psycopg://boss:{password}@{rest}"
    try:
        address = address_of(url)
    except ConfigError as refused:
        said = str(refused)
        assert "percent-encoded" in said
        assert said.endswith(f"got 'postgresql+psycopg://{HIDDEN}'")
        assert any(sign in password for sign in RAW)
    else:
        assert not any(sign in password for sign in RAW) or re.search("%[0-9A-Fa-f]{2}", password)
        assert address.password == unquote(password)
        assert (address.host or "") == rest.partition("/")[0]


@given(PASSWORDS, st.sampled_from(["password", "sslpassword"]))
@example("p@ss/w:o#r%d {x}?&é", "password")
def test_a_password_among_the_parameters(password: str, name: str) -> None:
    fresh(password, f"postgresql://h/db?{name}={HIDDEN}&sslmode=require")
    url = f"postgresql://h/db?{name}={quote(password, safe='')}&sslmode=require"
    db = Database.open(url)
    assert db.address.query == {name: password, "sslmode": "require"}
    assert db.shown == f"postgresql://h/db?{name}={HIDDEN}&sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h:port/db",
        f"postgresql://u:a/{SECRET}@b@h:port/db",
        f"postgresql://u:{SECRET}/db",
        f"postgresql://u:{SECRET}?x=1@h/db",
        f"postgresql://h/db?password={SECRET}@x",
        f"postgresql://h/db?password=a&{SECRET}",
        f"postgresql://u:{SECRET}:x@h/db",
        f"postgresql://u:{SECRET}%@h/db",
        f"postgresql+asyncpg://u:{SECRET}@h/db",
        f"postgres://u:{SECRET}@h/db",
        f"mysql://u:{SECRET}@h/db",
        f"sqlite://u:{SECRET}@h/db",
        f"{SECRET}@h://x",
        f"postgresql:u:{SECRET}@h/db",
        f"u:{SECRET}@h/db",
        f"{SECRET}/u:x@h/db",
        f" postgresql://u:{SECRET}@h/db",
        "postgresql://" + "u" * 400 + f":{SECRET}/@h/db",
    ],
)
def test_what_cannot_be_split_for_certain_is_refused_unquoted(url: str) -> None:
    with pytest.raises(ConfigError, match="storage must be") as refused:
        Database.open(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("studies.db", "studies.db"),
        ("a b%20c#é{}.db", "a b%20c#é{}.db"),
        ("./a:b@c.db", "a:b@c.db"),
        ("~/studies.db", "HOME/studies.db"),
        ("sqlite:///studies.db", "studies.db"),
        ("sqlite:///~/studies.db", "HOME/studies.db"),
        ("sqlite+pysqlite:///studies.db", "studies.db"),
    ],
)
def test_a_file_is_an_sqlite_database(
    text: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "HOME"))
    (tmp_path / "HOME").mkdir()
    with Database.open(text) as db:
        db.migrate()
        assert db.is_sqlite
        assert db.shown == text
    assert (tmp_path / database).is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a file"),
        ("studies", "a new file ends in .db, .db3, .sqlite or .sqlite3"),
        ("localhost/studies", "in a folder that exists"),
        (" ", "must be a file"),
        ("sqlite:studies.db", "must be a file"),
        ("sqlite:///studies.db?mode=ro", "without parameters"),
        ("sqlite:///file:studies.db", "must be a file"),
        ("sqlite://", "must be a file"),
        ("sqlite:///", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        (":memory:", "must be a file"),
        ("sqlite://studies.db", "must be a file"),
        ("sqlite:/studies.db", "must be a file"),
        ("oracle:///studies.db", "must be a file"),
        ("a:b.db", "./FILE"),
        ("folder", "a folder"),
        ("sqlite:///folder", "a folder"),
        ("pipe", "no regular file"),
        ("nowhere/studies.db", "a folder that exists"),
        ("file/studies.db", "can be reached"),
        ("x" * 300, "can be reached"),
        ("a\0b", "name"),
        ("a\nb", "name"),
        ("~nobody-of-this-name/x.db", "without ~"),
    ],
)
def test_what_is_no_database_is_refused_in_one_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError) as refused:
        Database.open(text)
    assert str(refused.value).startswith("storage must be")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
