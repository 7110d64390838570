"""A folder in which the lines of the documentation run: a study, its winner, an ONNX file."""

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest

import nas_sv2
from nas_sv2.cli import main

STUDY = "arm-140M-animals-quick"
SPACE = """\
nas_sv2_space: 1
stem: [8]
head: 64
stages:
  - {depth: {low: 1, high: 1}, width: {low: 16, high: 24, step: 8}}
  - {depth: {low: 1, high: 1}, width: {low: 40, high: 48, step: 8}}
  - {depth: {low: 1, high: 1}, width: {low: 72, high: 80, step: 8}}
"""
RECIPE = """\
nas_sv2_recipe: 1
name: tiny
epochs: 1
images_per_epoch: 32
batch: 16
norm_images: 32
"""


def run_in_process(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["nas-sv2", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def fill(folder: Path) -> None:
    """Search two networks in the folder, and export the better one to `winner`."""
    labels = np.arange(96) % 2
    images = np.random.default_rng(0).integers(0, 120, (96, 28, 28), dtype=np.uint8)
    images[labels == 0, :14] += 100
    np.savez(folder / "pets.npz", images=images, labels=labels)
    (folder / "tiny.yaml").write_text(SPACE)
    (folder / "tiny_recipe.yaml").write_text(RECIPE)
    nas_sv2.onnx("shufflenet_v2_x0_5", folder / "mine.onnx")
    search = (
        f"search -t arm -b 40M -n 2 --space tiny.yaml --data npz:{folder}/pets.npz "
        f"--recipe tiny_recipe.yaml --guidelines off --study {STUDY}"
    )
    export = f"export {STUDY} -o winner --no-time --no-int8"
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert run_in_process(search.split(), patch) == 0
        assert run_in_process(export.split(), patch) == 0
