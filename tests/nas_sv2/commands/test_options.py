"""What commands share."""

import shlex

from nas_sv2.commands.options import STORAGE, next_command


def test_the_next_command_is_for_the_same_database_and_shows_no_password() -> None:
    assert next_command(STORAGE, "front", "a b") == "nas-sv2 front 'a b'"
    assert next_command("sqlite:///s.db", "front", "a") == (
        "nas-sv2 front a --storage sqlite:///s.db"
    )
    dashed = next_command(STORAGE, "export", "-my study", "--out", "it's")
    assert shlex.split(dashed) == ["nas-sv2", "export", "--out", "it's", "--", "-my study"]
    assert "secret" not in next_command("postgresql://me:secret@host/studies", "front", "a")
