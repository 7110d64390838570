"""Latency-aware neural architecture search over the ShuffleNet V2 unit.

Everything public stands here; it is imported when it is first used, so that `import nas_sv2` loads
none of the heavy packages. Every other path may change without notice.
"""

import importlib
import sys
from functools import cache, update_wrapper
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nas_sv2.version import __version__

if TYPE_CHECKING:
    from nas_sv2.api.measuring import measure
    from nas_sv2.api.networks import cost, load, module, onnx, reference
    from nas_sv2.api.searching import search
    from nas_sv2.api.study import Study, open_study, studies
    from nas_sv2.api.training import train
    from nas_sv2.errors import NasError
    from nas_sv2.evaluate.fitting.evaluation import Evaluation
    from nas_sv2.evaluate.fitting.evaluator import Evaluator
    from nas_sv2.latency.measurements.measurement import Latency
    from nas_sv2.latency.targets.user_target import LatencySource as Target
    from nas_sv2.search.walk.budget import Budget
    from nas_sv2.space.choices.search_space import SearchSpace
    from nas_sv2.space.units.architecture import Architecture, Stage

__all__ = [
    "Architecture",
    "Budget",
    "Evaluation",
    "Evaluator",
    "Latency",
    "NasError",
    "SearchSpace",
    "Stage",
    "Study",
    "Target",
    "__version__",
    "cost",
    "load",
    "measure",
    "module",
    "onnx",
    "open_study",
    "reference",
    "search",
    "studies",
    "train",
]

_PLACES = {
    "Architecture": "nas_sv2.space.units.architecture:Architecture",
    "Budget": "nas_sv2.search.walk.budget:Budget",
    "Evaluation": "nas_sv2.evaluate.fitting.evaluation:Evaluation",
    "Evaluator": "nas_sv2.evaluate.fitting.evaluator:Evaluator",
    "Latency": "nas_sv2.latency.measurements.measurement:Latency",
    "NasError": "nas_sv2.errors:NasError",
    "SearchSpace": "nas_sv2.space.choices.search_space:SearchSpace",
    "Stage": "nas_sv2.space.units.architecture:Stage",
    "Study": "nas_sv2.api.study:Study",
    "Target": "nas_sv2.latency.targets.user_target:LatencySource",
    "cost": "nas_sv2.api.networks:cost",
    "load": "nas_sv2.api.networks:load",
    "measure": "nas_sv2.api.measuring:measure",
    "module": "nas_sv2.api.networks:module",
    "onnx": "nas_sv2.api.networks:onnx",
    "open_study": "nas_sv2.api.study:open_study",
    "reference": "nas_sv2.api.networks:reference",
    "search": "nas_sv2.api.searching:search",
    "studies": "nas_sv2.api.study:studies",
    "train": "nas_sv2.api.training:train",
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(place), attribute)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


class _FunctionAndFolder:
    """A public function that also has the parts of the folder of its name.

    Importing `nas_sv2.search.walk` would put the folder in place of the function `search`.
    """

    def __init__(self, name: str) -> None:
        update_wrapper(self, __getattr__(name))
        self._folder = f"{__name__}.{name}"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self.__wrapped__(*arguments, **options)

    def __getattr__(self, part: str) -> Any:
        """Give a part of the folder."""
        return getattr(importlib.import_module(self._folder), part)


def _shared(name: str) -> property:
    """Give the function of a name, also after the import system has set the folder there."""
    return property(cache(lambda _: _FunctionAndFolder(name)), lambda _, folder: None)


class _Package(ModuleType):
    """This module, whose functions `search` and `studies` share a name with a folder."""

    search = _shared("search")
    studies = _shared("studies")


if not TYPE_CHECKING:
    sys.modules[__name__].__class__ = _Package
