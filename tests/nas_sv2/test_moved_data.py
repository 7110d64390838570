"""A folder of padded pictures that is moved between two searches of a study."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_graphs import run_onnx
from sqlalchemy import create_engine, text

from nas_sv2.database.database import Database
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.decoding import decode
from nas_sv2.space.runtimes.onnx_lowering import metadata_of
from nas_sv2.studies.storage.named_networks import records_of

SPACE = (
    "nas_sv2_space: 1\nstem: [8]\nhead: 16\nresolution: 32\nchannels: 3\nclasses: 2\nstages:\n"
    "  - {depth: 1, width: {low: 16, high: 48, step: 8}}\n"
    "  - {depth: 1, width: {low: 56, high: 88, step: 8}}\n"
    "  - {depth: 1, width: {low: 96, high: 128, step: 8}}\n"
)
RECIPE = "nas_sv2_recipe: 1\nepochs: 2\nbatch: 4\nresolution: 16\n"
FROM = ("--space", "space.yaml", "--recipe", "tiny.yaml")
SEARCH = (
    *("search", "--target", "arm", *FROM, "--guidelines", "off", "--fit", "pad"),
    *("--study", "s", "--trials", "1", "--json"),
)
EXPORT = ("export", "s", "--no-time", "--no-int8")
OURS = "nas_sv2"  # the version, which is no JSON
STORAGE = "sqlite:///nas-sv2.db"

Run = Callable[..., tuple[int, str, str]]


def trainings() -> int:
    """How many the database has."""
    engine = create_engine(STORAGE)
    with engine.connect() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM nas_evaluations")).scalar_one()
    engine.dispose()
    return count


def check_padding(package: Path, pictures: Path) -> None:
    """The package says how its pictures became squares, and prepared so they give its accuracy."""
    card = json.loads((package / "card.json").read_text())
    text = (package / "card.md").read_text()
    assert card["input"]["fit"] == "pad" and "pictures padded to squares" in text
    assert "FIT = 'pad'" in (package / "model.py").read_text()
    model = (package / "model.onnx").read_bytes()
    facts = {name: json.loads(fact) for name, fact in metadata_of(model).items() if name != OURS}
    assert facts["fit"] == "pad"
    mean, deviation = (np.array(facts[name])[:, None, None] for name in ("mean", "deviation"))
    data = open_data(f"imagefolder+pad:{pictures}", resolution=facts["side"])
    decoded = [
        decode(file, facts["side"], facts["fit"]).pixels
        for file in sorted(pictures.rglob("*.png"))
    ]
    assert {image.tobytes() for image in data.val.images.numpy()} <= {
        image.tobytes() for image in decoded
    }
    levels = data.val.images.numpy()
    logits = run_onnx(model, ((levels - mean) / deviation).astype(np.float32))
    right = (logits.argmax(1) == data.val.labels.numpy()).mean()
    assert right == pytest.approx(card["forms"]["model.onnx"]["accuracy"])


@pytest.mark.slow
def test_a_study_goes_on_and_is_exported_where_its_folder_lies_now(
    command_line: Run, tmp_path: Path, folder: Callable[..., Path]
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    here = folder("here", count=12)
    on = ("--data", f"imagefolder:{here}")
    code, _, said = command_line(*SEARCH, *on, "--trials", "1")
    assert code == 0, said
    here.rename(tmp_path / "there")
    code, _, said = command_line(*EXPORT, "--out", "without")
    assert code == 0
    assert said.startswith(
        f"the data of the study cannot be opened (imagefolder+pad:{here} must be imagefolder:PATH "
        "of a folder that exists and can be reached; if they were moved, give their new place as "
        "data); the kept "
        "weights are exported"
    )
    code, _, said = command_line(*EXPORT, "--out", "winner", "--data", "imagefolder:there")
    assert code == 0, said
    check_padding(tmp_path / "winner", tmp_path / "there")
    code, out, said = command_line("network", "verify", "winner", "--data", "imagefolder:there")
    assert code == 0, said
    assert "model.onnx accuracy" in out and "not those of the export" not in out
    assert command_line("network", "verify", "winner", "--data", "imagefolder+crop:there")[0] == 2
    code, out, said = command_line(*SEARCH, "--data", "imagefolder:there", "--trials", "2")
    assert code == 0, said
    assert out.count('"verdict": "finished"') == 1
    assert len(records_of(Database.open(STORAGE), "s")) == 2
    code, _, said = command_line(*EXPORT, "--out", "again")
    assert code == 0, said
    known = trainings()
    code, _, said = command_line(*SEARCH, "--study", "t", "--data", "imagefolder:there")
    assert code == 0, said
    assert (len(records_of(Database.open(STORAGE), "t")), trainings()) == (1, known)
    folder("here", count=13)  # other images in the place of the first
    code, _, said = command_line(*SEARCH, *on)
    assert code == 2
    assert "begun with data" in said and len(said.splitlines()) == 1
    assert "trainings are kept" in said
