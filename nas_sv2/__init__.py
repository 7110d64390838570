"""nas-sv2: latency-aware neural architecture search over the ShuffleNet V2 unit."""

from typing import TYPE_CHECKING

from nas_sv2.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import torch

__all__ = ["__version__", "load"]


def load(folder: "str | Path") -> "torch.nn.Module":
    """Load the network that `export` or `network train` wrote to `folder`, in evaluation mode.

    Nothing in the folder is run or unpickled; its checksums are verified first. Of a network of
    the space, `features(images)` gives the maps behind the stem and each stage by their names,
    which torchvision's `IntermediateLayerGetter` knows too; `strides` and `widths` tell of them.

    Raises:
        ConfigError: The folder is no package, or describes something else than it holds.
        StoreError: A file is missing or is not what was written.
    """
    from pathlib import Path

    from nas_sv2.studies.package.load import load_package  # torch takes seconds

    return load_package(Path(folder)).module()
