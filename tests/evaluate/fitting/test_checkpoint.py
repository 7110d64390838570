import errno
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed_training
import pytest
import torch

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting import checkpoint as checkpoint_module
from nas_sv2.evaluate.fitting.checkpoint import CHECKSUM_BYTES, ENDING, Checkpoint

IDENTITY = {"architecture": "a", "recipe": "r", "data": "d", "seed": "0", "device": "cpu"}


Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run(forked: Callable[..., tuple[int, Any]]) -> Run:
    """Trains in a process of its own; what came out, of one that was not killed."""

    def train(folder: Path | None, step: int = 0, where: str = "step") -> dict[str, Any]:
        ended, answer = forked(killed_training, folder, step, where)
        assert ended == (-signal.SIGKILL if step else 0)
        return answer or {}

    return train


@pytest.fixture(scope="module")
def undisturbed(run: Run) -> dict[str, Any]:
    return run(None)


# Steps 1 to 15 are of the first seed, 16 to 30 of the second, five a pass.
@pytest.mark.parametrize(
    ("kills", "where", "said"),
    [
        ([7], "step", [7]),
        ([10, 22], "step", [15, 7]),
        ([13], "pass", [10]),
        ([3], "pass", []),
    ],
)
def test_killed_and_taken_up_is_as_if_it_had_never_been(
    kills: list[int],
    where: str,
    said: list[int],
    run: Run,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    for step in kills:
        run(tmp_path, step, where)
    resumed = run(tmp_path, 0, where)
    assert resumed["figures"] == undisturbed["figures"]
    assert resumed["weights"] == undisturbed["weights"]
    told = [line.split()[4] for line in resumed["told"]]
    assert told == [str(step) for step in said], resumed["told"]
    assert not list(tmp_path.iterdir())


def test_from_a_damaged_checkpoint_a_training_begins_anew(
    run: Run, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run(tmp_path, 7)
    (file,) = tmp_path.glob(f"*{ENDING}")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again = run(tmp_path)
    assert again["weights"] == undisturbed["weights"]
    assert again["told"] == [f"checkpoint {file.name} is damaged; the training starts again"]


@pytest.mark.parametrize("fault", ["flipped", "cut", "empty", "not ours"])
def test_a_damaged_checkpoint_is_told_of_and_not_used(fault: str, tmp_path: Path) -> None:
    told: list[str] = []
    checkpoint = Checkpoint.of(tmp_path, IDENTITY, told.append)
    checkpoint.save({"step": 7})
    content = checkpoint.file.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    damaged = {"flipped": flipped, "cut": content[:-100], "empty": b"", "not ours": b"x" * 99}
    checkpoint.file.write_bytes(damaged[fault])
    assert checkpoint.load() is None
    assert told == [f"checkpoint {checkpoint.file.name} is damaged; the training starts again"]


def test_a_foreign_checkpoint_is_told_of_and_not_used(tmp_path: Path) -> None:
    told: list[str] = []
    theirs = Checkpoint.of(tmp_path, {**IDENTITY, "seed": "1"}, told.append)
    theirs.save({"step": torch.tensor(7)})
    ours = Checkpoint.of(tmp_path, IDENTITY, told.append)
    assert ours.load() is None and not told
    theirs.file.rename(ours.file)
    assert ours.load() is None
    (line,) = told
    assert "is of another training: seed 1, not 0" in line


def test_data_that_were_moved_are_the_same_training(tmp_path: Path) -> None:
    told: list[str] = []
    here, there, others = (
        Checkpoint.of(tmp_path, {**IDENTITY, "data": data}, told.append)
        for data in ("npz:/here@0a", "npz:/there@0a", "npz:/here@0b")
    )
    here.save({"step": 7})
    assert there.load() == {"step": 7}
    assert others.load() is None and not told
    here.file.rename(others.file)
    assert others.load() is None
    assert "is of another training: data npz:/here@0a, not npz:/here@0b;" in told[0]


def test_a_checkpoint_of_another_form_is_told_of_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    mine = Checkpoint.of(tmp_path, IDENTITY, told.append)
    monkeypatch.setattr(checkpoint_module, "FORM", 1)
    mine.save({"step": 7})
    monkeypatch.undo()
    assert mine.load() is None
    assert told[0].endswith("is of another version of nas-sv2; the training starts again")


def test_another_torch_is_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    Checkpoint.of(tmp_path, IDENTITY, told.append).save({"step": 7})
    here = torch.__version__
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert Checkpoint.of(tmp_path, IDENTITY, told.append).load() is None
    assert told[0].split(": ")[1] == f"torch {here}, not 9.9; the training starts again"


def test_a_full_disk_is_named_with_the_folder_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_whole", full)
    with pytest.raises(StoreError) as caught:
        Checkpoint.of(tmp_path / "kept", IDENTITY, print).save({})
    folder = tmp_path / "kept"
    assert str(caught.value) == (
        f"a checkpoint cannot be saved in {folder}: No space left on device"
    )


def test_a_save_replaces_the_last_one_whole(tmp_path: Path) -> None:
    checkpoint = Checkpoint.of(tmp_path, IDENTITY, print)
    for step in (1, 2):
        checkpoint.save({"step": step, "weights": torch.full((3,), float(step))})
    state = checkpoint.load()
    assert state is not None and state["step"] == 2
    assert torch.equal(state["weights"], torch.full((3,), 2.0))
    assert len(checkpoint.file.read_bytes()) > CHECKSUM_BYTES
    assert list(tmp_path.iterdir()) == [checkpoint.file]
    checkpoint.drop()
    assert checkpoint.load() is None
