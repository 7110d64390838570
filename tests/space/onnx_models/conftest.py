from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from onnx_files import save_model


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a model to a file."""
    return partial(save_model, tmp_path / "m.onnx")
