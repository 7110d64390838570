"""Latency-aware neural architecture search over the ShuffleNet V2 unit.

Everything public stands here; it is imported when it is first used, so that `import nas_sv2` loads
none of the heavy packages. Every other path may change without notice.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nas_sv2.version import __version__

if TYPE_CHECKING:
    from nas_sv2.api.measuring import measure
    from nas_sv2.api.networks import cost, load, module, onnx, reference
    from nas_sv2.api.searching import search
    from nas_sv2.api.study import Study, open_study, studies
    from nas_sv2.database.database import Database
    from nas_sv2.errors import NasError
    from nas_sv2.evaluate.fitting.evaluation import Evaluation
    from nas_sv2.evaluate.fitting.evaluator import Evaluator
    from nas_sv2.latency.measurements.measurement import Latency
    from nas_sv2.latency.targets.user_target import LatencySource as Target
    from nas_sv2.search.walk.budget import Budget
    from nas_sv2.space.choices.search_space import SearchSpace
    from nas_sv2.space.units.architecture import Architecture

__all__ = [
    "Architecture",
    "Budget",
    "Database",
    "Evaluation",
    "Evaluator",
    "Latency",
    "NasError",
    "SearchSpace",
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
]

_PLACES = {
    "Architecture": "nas_sv2.space.units.architecture:Architecture",
    "Budget": "nas_sv2.search.walk.budget:Budget",
    "Database": "nas_sv2.database.database:Database",
    "Evaluation": "nas_sv2.evaluate.fitting.evaluation:Evaluation",
    "Evaluator": "nas_sv2.evaluate.fitting.evaluator:Evaluator",
    "Latency": "nas_sv2.latency.measurements.measurement:Latency",
    "NasError": "nas_sv2.errors:NasError",
    "SearchSpace": "nas_sv2.space.choices.search_space:SearchSpace",
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
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This module: `search` and `studies` stay functions although folders have these names too.

    Importing `nas_sv2.search.walk` would put the folder in place of the function.
    """

    @property
    def search(self) -> Any:
        """The public function."""
        return __getattr__("search")

    @search.setter
    def search(self, folder: ModuleType) -> None:
        """Keep the function when the import system offers the folder."""

    @property
    def studies(self) -> Any:
        """The public function."""
        return __getattr__("studies")

    @studies.setter
    def studies(self, folder: ModuleType) -> None:
        """Keep the function when the import system offers the folder."""


if not TYPE_CHECKING:
    sys.modules[__name__].__class__ = _Package
