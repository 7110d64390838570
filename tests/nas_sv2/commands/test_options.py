"""What commands share."""

import os
import shlex
import signal
import time

import pytest

from nas_sv2.commands.options import STORAGE, next_command, resumable


def test_the_next_command_is_for_the_same_database_and_shows_no_password() -> None:
    assert next_command(STORAGE, "front", "a b") == "nas-sv2 front 'a b'"
    assert next_command("sqlite:///s.db", "front", "a") == (
        "nas-sv2 front a --storage sqlite:///s.db"
    )
    dashed = next_command(STORAGE, "export", "-my study", "--out", "it's")
    assert shlex.split(dashed) == ["nas-sv2", "export", "--out", "it's", "--", "-my study"]
    assert "secret" not in next_command("postgresql://me:secret@host/studies", "front", "a")


def test_an_interrupt_ends_with_the_line_that_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyboardInterrupt), resumable():
        raise KeyboardInterrupt
    assert capsys.readouterr() == ("", "interrupted; the same command goes on\n")
    with pytest.raises(KeyboardInterrupt), resumable():
        os.kill(os.getpid(), signal.SIGTERM)  # as a scheduler sends it
        time.sleep(10)
    assert capsys.readouterr() == ("", "interrupted; the same command goes on\n")
    with pytest.raises(ValueError, match="another"), resumable():
        raise ValueError("another")
    assert capsys.readouterr() == ("", "")
