import errno
from pathlib import Path

import numpy as np
import pytest

from nas_sv2.errors import StoreError
from nas_sv2.studies.storage import weights_folder
from nas_sv2.studies.storage.weights_folder import WeightsFolder


def test_weights_come_back_however_they_lie_in_memory(tmp_path: Path) -> None:
    folder = WeightsFolder(tmp_path / "w")
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
    channels_last = kernel.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    assert not channels_last.flags.c_contiguous
    folder.save("d", {"kernel": channels_last, "bias": kernel[0, 0, 0]})
    found = folder.find("d")
    assert found is not None
    assert np.array_equal(found["kernel"], kernel)
    assert np.array_equal(found["bias"], kernel[0, 0, 0])
    assert folder.find("other") is None


def test_weights_that_may_not_be_read_are_no_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a colleague, which root reads in spite of its mode."""

    def refused(file: Path, most_bytes: int) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(weights_folder, "read_bounded", refused)
    with pytest.raises(StoreError, match=r"d.safetensors cannot be read: Permission denied"):
        WeightsFolder(tmp_path).find("d")


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "d.safetensors").write_bytes(b"nothing")
    assert WeightsFolder(tmp_path).find("d") is None
    assert WeightsFolder(tmp_path).why_none("d") == "the file of its weights is damaged"
    assert WeightsFolder(tmp_path).why_none("other") == "its weights were not kept"


def test_weights_that_cannot_be_deleted_are_said(tmp_path: Path) -> None:
    folder = WeightsFolder(tmp_path)
    folder.drop(["none"])
    (tmp_path / "d.safetensors").mkdir()
    with pytest.raises(StoreError) as error:
        folder.drop(["d"])
    assert str(error.value) == f"weights cannot be deleted in {tmp_path}: Is a directory"
