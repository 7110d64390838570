"""Weights to start from, by the user's words."""

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision
from packages import TINY, data_in, write_winner
from safetensors.numpy import save_file
from small_spaces import SMALL

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, StoreError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.fitting.start import take
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.supernet.trained import WEIGHTS, SupernetEvaluator, save_supernet
from nas_sv2.evaluate.supernet.training import SupernetTraining
from nas_sv2.space.choices.extremes import largest, smallest
from nas_sv2.space.graph.guidelines import Guidelines
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import reference
from nas_sv2.studies.package.starting_weights import find_starting_weights

X0_5 = reference("torchvision_shufflenet_v2_x0_5")


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'studies.db'}")


def test_an_exported_network_and_a_file_of_weights(db: Database, tmp_path: Path) -> None:
    winner = write_winner(tmp_path / "winner", data_in(tmp_path))
    save_file(dict(winner.weights), tmp_path / "mine.safetensors")
    for name in ("winner", "mine.safetensors"):
        found = find_starting_weights(str(tmp_path / name), TINY, db)
        assert found.keys() == winner.weights.keys()
        assert all((found[name] == array).all() for name, array in winner.weights.items())
    (tmp_path / "winner" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="is not the exported file"):
        find_starting_weights(str(tmp_path / "winner"), TINY, db)


def test_a_supernet_gives_the_slices_of_the_network_without_statistics(
    db: Database, blobs: ImageData, tmp_path: Path
) -> None:
    recipe = Recipe("tiny", 1, batch=20, images_per_epoch=40, norm_images=40)
    how = SupernetTraining(SMALL, recipe, blobs, Guidelines({}), threads=1)
    saved = save_supernet(tmp_path, how, how.train())
    for network in (largest(SMALL), smallest(SMALL)):
        found = find_starting_weights(str(tmp_path), network, db)
        asked = SupernetEvaluator(saved, blobs).train(network)
        for name, array in asked.weights.items():
            statistic = name.endswith(("running_mean", "running_var"))
            assert (name not in found) if statistic else (found[name] == array).all(), name
        assert take(lower(asked.architecture), found).share > 0.9
    with pytest.raises(ConfigError):
        find_starting_weights(str(tmp_path), X0_5, db)
    (tmp_path / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(StoreError, match="damaged"):
        find_starting_weights(str(tmp_path), smallest(SMALL), db)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which torchvision's weights would lie, with others in it, of the right name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "shufflenetv2.pth"
    file.parent.mkdir(parents=True)
    theirs = torchvision.models.shufflenet_v2_x0_5(weights=None)
    torch.save(theirs.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:10]
    named = file.rename(file.with_name(f"shufflenetv2_x0.5-{digest}.pth"))
    weights = torchvision.models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", f"https://example.org/{named.name}")
    return named


@pytest.mark.parametrize(
    "name", ["shufflenet_v2_x0_5", "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1", None]
)
def test_torchvisions_weights_from_where_it_keeps_them(
    name: str | None, db: Database, published: Path
) -> None:
    text = str(published) if name is None else f"torchvision:{name}"
    found = find_starting_weights(text, X0_5, db)
    assert not take(lower(X0_5), found).fresh
    assert lower(reference("shufflenet_v2_x0_5")) == lower(X0_5)  # of this size, so they fit too


def test_a_date_in_a_name_of_ones_own_is_no_digest(db: Database, published: Path) -> None:
    dated = published.rename(published.with_name("mine-20240131.pth"))
    assert not take(lower(X0_5), find_starting_weights(str(dated), X0_5, db)).fresh


def test_a_damaged_download_is_not_used(db: Database, published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="its SHA-256 is not the one in its name"):
        find_starting_weights("torchvision:shufflenet_v2_x0_5", X0_5, db)


class Anything:
    """What weights have nothing of."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"layer9.conv": torch.zeros(1)}, "must be a name of torchvision's"),
        ({"model": {"fc.bias": torch.zeros(1)}}, "other than tensors"),
        (torch.zeros(1), "other than tensors"),
        (Anything(), "must be a readable file"),
        (b"no pickle", "must be a readable file"),
    ],
)
def test_a_file_that_is_no_state_of_such_a_model(
    content: object, said: str, db: Database, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ConfigError, match=said) as caught:
        find_starting_weights(str(file), X0_5, db)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torchvision:shufflenet_v2_x1_0", r"must have been downloaded: shufflenetv2_x1-\w+.pth"),
        ("torchvision:nothing", "must name a model or weights of torchvision"),
        ("torchvision:Nothing.AT_ALL", "must name a model or weights of torchvision"),
        ("nothing", "must be a folder that"),
        (".", "must be a folder with SHA256SUMS"),
        ("missing.pth", "must be a readable file"),
        ("missing.safetensors", "must be a readable safetensors file"),
    ],
)
def test_words_that_name_no_weights(
    text: str, said: str, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        find_starting_weights(text, X0_5, db)
