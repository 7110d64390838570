"""From an architecture to plain torch: the module, and the Python text that builds the same.

The text is the file of `standalone_network` with the numbers of one network behind it. It depends
on its arguments alone, so that a file can be told from one that was changed by writing it anew.
"""

from collections.abc import Iterable, Sequence
from importlib import resources

from nas_sv2.resolution import height_and_width
from nas_sv2.space.runtimes.standalone_network import ShuffleNet, Stage
from nas_sv2.space.units.architecture import OPTIONS, Architecture

MARK = "# --- model.py from here on ---\n\n\n"

_HEAD = '''\
"""A ShuffleNet V2 trained by nas-sv2: {classes} classes, images of {size}.

    network = load()  # in evaluation mode
    logits = network(prepared(images))  # grey levels 0 to 255
    maps = network.features(prepared(images))  # for detection and segmentation

Needs torch and safetensors. The architecture is {digest}; card.md says how good it is.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn


'''

_TAIL = '''

WEIGHTS = Path(__file__).with_name("{weights}")
MEAN = {mean}
"""Of the training images, grey levels 0 to 255, a channel each."""
DEVIATION = {deviation}
"""The same."""
STAGES = (
{stages}
)


def build() -> ShuffleNet:
    """The network, with numbers that torch draws."""
    return ShuffleNet(
        channels={channels},
        stem={stem},
        stem_stride={stem_stride},
        stem_pool={stem_pool},
        stages=STAGES,
        head={head},
        classes={classes},
    )


def load(weights: Path = WEIGHTS) -> ShuffleNet:
    """The trained network, in evaluation mode."""
    from safetensors.torch import load_file

    network = build()
    network.load_state_dict(load_file(weights))
    return network.eval()


def prepared(images: Tensor) -> Tensor:
    """Grey levels 0 to 255, (N, {channels}, {height}, {width}), as the network takes them."""
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    deviation = torch.tensor(DEVIATION, device=images.device)[:, None, None]
    return (images.float() - mean) / deviation
'''

_NAMES = '''

CLASS_NAMES = (
{names}
)
"""In the order of the logits."""
'''

_FIT = '''

FIT = {fit!r}
"""How a picture became {shape}: `crop` cuts the centre out, `pad` adds grey of level 128, and
`stretch` resizes both sides."""
'''


def build_plain(architecture: Architecture) -> ShuffleNet:
    """The network in plain torch, with numbers that torch draws from its global generator."""
    return ShuffleNet(
        channels=architecture.channels,
        stem=architecture.stem,
        stem_stride=architecture.stem_stride,
        stem_pool=architecture.stem_pool,
        stages=_stages(architecture),
        head=architecture.head,
        classes=architecture.classes,
    )


def source_of(
    architecture: Architecture,
    mean: Sequence[float],
    deviation: Sequence[float],
    weights: str,
    class_names: Sequence[str] | None = None,
    fit: str | None = None,
) -> str:
    """The text of a Python file that builds the network and loads its numbers.

    Args:
        architecture: The form that was trained.
        mean: Of the training images, grey levels, for each channel.
        deviation: The same.
        weights: Name of the safetensors file beside it.
        class_names: Names of the classes, in the order of the logits; the text has none if None.
        fit: How pictures took the shape of the images; the text does not say it if None.
    """
    source = resources.files("nas_sv2.space.runtimes") / "standalone_network.py"
    text = source.read_text("utf-8")
    classes = text.partition(MARK)[2]
    height, width = height_and_width(architecture.resolution)
    facts = {
        "channels": architecture.channels,
        "size": f"{architecture.channels} × {height} × {width}",
        "height": height,
        "width": width,
        "digest": architecture.digest,
        "mean": _floats(mean),
        "deviation": _floats(deviation),
        "stages": _lines(map(_shown, _stages(architecture))),
        "stem": architecture.stem,
        "stem_stride": architecture.stem_stride,
        "stem_pool": architecture.stem_pool,
        "head": architecture.head,
        "classes": architecture.classes,
        "weights": weights,
    }
    shape = "a square" if height == width else "that shape"
    shapes = "" if fit is None else _FIT.format(fit=fit, shape=shape)
    names = "" if class_names is None else _NAMES.format(names=_lines(map(repr, class_names)))
    return _HEAD.format(**facts) + classes + _TAIL.format(**facts) + names + shapes


def _stages(architecture: Architecture) -> tuple[Stage, ...]:
    found, entering = [], architecture.stem[-1]
    for stage in architecture.stages:
        paper = architecture.downsample == "paper"
        found.append(
            Stage(
                units=stage.depth,
                width=stage.width,
                convolved=stage.convolved,
                shortcut=entering if paper else stage.width - stage.convolved,
                stride=stage.stride,
                **{option.name: getattr(stage, option.name) for option in OPTIONS},
            )
        )
        entering = stage.width
    return tuple(found)


def _shown(stage: Stage) -> str:
    """The call that makes `stage`, without what is the default."""
    given = {
        name: value
        for name, value in stage._asdict().items()
        if name not in Stage._field_defaults or value != Stage._field_defaults[name]
    }
    return f"Stage({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _lines(values: Iterable[str]) -> str:
    return "\n".join(f"    {value}," for value in values)


def _floats(values: Sequence[float]) -> str:
    return repr(tuple(float(value) for value in values))
