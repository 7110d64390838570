"""`nas-sv2 device predictor` and `search --latency`, as far as they answer without a device."""

import re
import sys
from pathlib import Path

import pytest

from nas_sv2.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("device", "predictor", "--target", "cpu", "--space", "50M"), "--space .*; got '50M'"),
        (("search", "--target", "cpu", "--latency", "guess"), "--latency .*; got 'guess'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nas-sv2", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    errors = capsys.readouterr().err
    assert caught.value.code == 2
    assert re.search(said, errors), errors
    assert len(errors.splitlines()) == 1
