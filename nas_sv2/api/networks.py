"""One network: by its name, priced on paper, as a torch module, as ONNX, as a package."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, overload

from nas_sv2.api.arguments import checked, database_of
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.files import checked_out, write_out
from nas_sv2.space.families.published import full_name, published_network
from nas_sv2.space.graph.cost import Cost
from nas_sv2.space.networks.lowering import Classifier, Network, costs_of, lower
from nas_sv2.space.onnx_models.model import ENDING, OnnxModel, Shapes, load_model
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.named_networks import find_networks, named

if TYPE_CHECKING:
    import torch

    from nas_sv2.studies.package.verify import Check


@checked
def reference(name: str) -> Classifier:
    """Give a hand-designed network.

    Args:
        name: A width of ShuffleNet V2, such as `1x` or `0.35x`, or a full name such as
            `shufflenet_v2_se_x1_0` or `mobilenet_v2_x1_0`.

    Raises:
        ConfigError: There is no such network; the message names the closest.
    """
    return published_network(full_name(name))


@checked
def cost(network: Network | str, *, storage: str | Database = DEFAULT_STORAGE) -> Cost:
    """Count the cost of a network on paper: FLOPs, parameters, memory access.

    Args:
        network: A network, the name of a hand-designed one, a file (one of ONNX too), or
            `STUDY:NUMBER`. `load` reads an ONNX file that leaves further sizes open.
        storage: The URL of the database of studies, or the `db` of a study.

    Raises:
        ConfigError: There is no such network, or a node of the file cannot be counted.
    """
    if isinstance(network, str):
        network = find_networks([network], database_of(storage))[0].network
    return costs_of(network)[0]


@checked
def module(
    network: Classifier | str, *, seed: int = 0, storage: str | Database = DEFAULT_STORAGE
) -> "torch.nn.Module":
    """Build a network as a torch module with fresh weights, ready to be trained.

    A network of the space has `features(images)`, as that of `load` has.

    Args:
        network: A network, the name of a hand-designed one, a file, or `STUDY:NUMBER`.
        seed: Seed of the weights.
        storage: The URL of the database of studies, or the `db` of a study.

    Raises:
        ConfigError: There is no such network, or no such seed.
    """
    import torch

    from nas_sv2.documents import Seed, check_value
    from nas_sv2.space.runtimes.torch_lowering import build_module, weights_of
    from nas_sv2.studies.package.forms import plain_module

    check_value("seed", seed, Seed)
    found = named(network, database_of(storage)).network
    fresh = build_module(lower(found), torch.Generator().manual_seed(seed))
    if isinstance(found, Architecture):
        return plain_module(found, weights_of(fresh)).train()
    return fresh


@checked
def onnx(
    network: Classifier | str,
    path: Path | str,
    *,
    seed: int = 0,
    storage: str | Database = DEFAULT_STORAGE,
) -> Path:
    """Write a network as an ONNX file with random weights, to be timed.

    Args:
        network: A network, the name of a hand-designed one, a file, or `STUDY:NUMBER`.
        path: The file to write.
        seed: Seed of the weights.
        storage: The URL of the database of studies, or the `db` of a study.

    Raises:
        ConfigError: There is no such network, or the file cannot be written.
    """
    from nas_sv2.documents import Seed, check_value
    from nas_sv2.space.runtimes.onnx_lowering import build_onnx
    from nas_sv2.space.runtimes.weights import random_weights

    check_value("seed", seed, Seed)
    graph = lower(named(network, database_of(storage)).network)
    file = checked_out(Path(path), "path")
    write_out(file, build_onnx(graph, random_weights(graph, seed)), "path")
    return file


@overload
def load(folder: Path | str) -> "torch.nn.Module": ...


@overload
def load(folder: Path | str, *, inputs: Shapes) -> OnnxModel: ...


@checked
def load(folder: Path | str, *, inputs: Shapes | None = None) -> "torch.nn.Module | OnnxModel":
    """Load the network that `export` or `network train` wrote to `folder`, in evaluation mode.

    With `inputs`, load an ONNX file as a network for `measure` and `cost`. They are the shapes of
    its inputs by name, of those alone that leave a size open. `{}` is for files that leave
    none open, or only the batch, which is then 1.

    Nothing in the folder is run or unpickled; its checksums are verified first. The module of a
    network of the space has `features(images)`, which gives the maps of each stage by name.
    `IntermediateLayerGetter` of torchvision takes the same names. `strides` and `widths`
    describe the maps.

    Raises:
        ConfigError: The folder does not hold a package, or describes something else.
        StoreError: A file is missing or is not what was written.
    """
    if inputs is not None:
        return load_model(folder, inputs)
    if str(folder).endswith(ENDING):
        raise ConfigError("folder", str(folder), "must be a folder; inputs={} loads an ONNX file")
    from nas_sv2.studies.package.load import load_package  # torch takes seconds

    return load_package(Path(folder)).module()


def verify(
    folder: Path | str,
    *,
    data: str | None = None,
    run_model_py: bool = False,
    skip_unreadable: bool = False,
) -> "Iterator[Check]":
    """Check the network that `export` or `network train` wrote to `folder`, result by result.

    Args:
        folder: The folder.
        data: Images to compare the forms on; random ones if left out.
        run_model_py: Run a `model.py` that this nas-sv2 did not write.
        skip_unreadable: Leave out images that cannot be read.

    Raises:
        ConfigError: The folder is no package, or the data do not fit the network.
        EvaluationError: The data cannot be read.
    """
    from nas_sv2.studies.package import verify as package

    return package.verify(Path(folder), data, run_model_py, skip_unreadable)
