"""The input that a search times: as asked, as the user's images have it, or as the space says.

A level is named after its FLOPs at 224×224. At another input its networks have the classes of the
data. If the images have that input, the networks have the stem of the recipe too. The timed
network is then the trained one.
"""

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nas_sv2.documents import MOST_SIDE
from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.latency.targets.target import Target
from nas_sv2.resolution import Resolution, height_and_width, in_pixels, resolution_of
from nas_sv2.search.walk.budget import Budget
from nas_sv2.space.choices.levels import LEVELS, nearest_level
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import in_form_of, reference

INPUT = re.compile(r"(\d{1,5})x(\d{1,5})x(\d{1,5})")
TYPICAL = "shufflenet_v2_x1_0"
"""The network whose FLOPs say how much a level costs at another input."""


def read_input(text: str) -> tuple[Resolution, int]:
    """Read `96x128x3`, height × width × channels, as the resolution and the channels.

    Raises:
        ConfigError: It is written otherwise, or a number is out of range.
    """
    found = INPUT.fullmatch(text)
    sizes = [0] if found is None else [int(size) for size in found.groups()]
    if min(sizes) < 1 or max(sizes) > MOST_SIDE:
        allowed = f"must be HEIGHTxWIDTHxCHANNELS, as 96x128x3, each from 1 to {MOST_SIDE}"
        raise ConfigError("input", text, allowed)
    height, width, channels = sizes
    return resolution_of(height, width), channels


def as_typed(resolution: Resolution, channels: int) -> str:
    """Return an input as `read_input` reads it."""
    return f"{in_pixels(resolution)}×{channels}".replace("×", "x")


@dataclass(frozen=True, slots=True)
class TimedInput:
    """The input of a level, as far as it is known before the data are.

    Attributes:
        asked: Resolution and channels that the user asked for; None for those of their images.
        flops: Budget that chooses the level at that input; None for the level of the plan.
    """

    asked: tuple[Resolution, int] | None
    flops: float | None

    def space(self, level: SearchSpace, recipe: Recipe | None, data: ImageData) -> SearchSpace:
        """Return the level at the input that is timed.

        Args:
            level: The level at its own input.
            recipe: The recipe of the trainings; None for an evaluator of the user's.
            data: The images.

        Raises:
            ConfigError: Networks of the level cannot take so small an input.
        """
        taken = self.asked or _own_input(level, data)
        if taken is None:
            return level
        form = _form(taken, recipe, data)
        try:
            if self.flops is not None:
                level = nearest_level(self.flops / _share_of_cost(level, form))
            return dataclasses.replace(level, **form)
        except ConfigError as error:
            raise ConfigError("input", as_typed(*taken), _too_small(level, data)) from error

    def describe(self, space: SearchSpace, data: ImageData) -> list[str]:
        """Say why a search times the input that it times, if it was not asked for."""
        if self.asked is not None or data.picture_side is None:
            return []
        trained = in_pixels(data.resolution)
        if not isinstance(data.resolution, int):
            return [f"your images are trained at {trained}; --input times another size"]
        if data.picture_side <= data.resolution:
            return ["that is the size of your images; --input times another"]
        size = f"your images have up to {data.picture_side} pixels a side, and are trained at "
        timed = in_pixels(space.resolution)
        return [f"{size}{trained}; {timed} is timed, and --input times another"]


def describe_level(level: SearchSpace, budget: Budget, targets: Mapping[str, Target]) -> list[str]:
    """Say which level stands in for a budget of FLOPs, and what others take where it is limited.

    Args:
        level: The level, at the input that is timed; nobody named it.
        budget: The limits.
        targets: The targets. A device is not asked, since each answer takes seconds there.
    """
    if budget.flops is not None or not budget.constraints:
        return []
    lines = [f"no FLOPs are budgeted, so that the level is {level.name}; --space names others"]
    for name in budget.latency_ms:
        if targets[name].provenance != "measured":
            on = f"on {name} ({targets[name].provenance})"
            times = ", ".join(_times_of_levels(level, targets[name]))
            lines.append(f"the paper's network of each level {on}: {times}")
    return lines


def _times_of_levels(like: SearchSpace, target: Target) -> list[str]:
    """Return `40M 4.1 ms` for each level that the target can price at the input of a space."""
    found = []
    for level in LEVELS.values():
        with suppress(MeasurementError):
            network = in_form_of(like, reference(level.baselines[0]))
            found.append(f"{level.name} {target.estimate(network).ms:.3g} ms")
    return found


def _own_input(level: SearchSpace, data: ImageData) -> tuple[Resolution, int] | None:
    """Return the size of the user's images, at most that of the level; None for published sets.

    Images that training enlarges, or brings to another shape, are timed as they are trained.
    """
    if data.picture_side is None:
        return None
    if not isinstance(data.resolution, int) or data.picture_side <= data.resolution:
        return data.resolution, data.channels
    least = level.baseline(TYPICAL).total_stride
    most = min(height_and_width(level.resolution))
    return max(least, min(most, data.picture_side)), data.channels


def _form(taken: tuple[Resolution, int], recipe: Recipe | None, data: ImageData) -> dict[str, Any]:
    """Return the fields of a space whose networks take that input."""
    resolution, channels = taken
    form: dict[str, Any] = {"resolution": resolution, "channels": channels}
    if recipe is None:
        return form
    form["classes"] = data.classes
    if taken == (data.resolution, data.channels):
        stem = {"stem_stride": recipe.stem_stride, "stem_pool": recipe.stem_pool}
        form |= {name: value for name, value in stem.items() if value is not None}
    return form


def _share_of_cost(level: SearchSpace, form: dict[str, Any]) -> float:
    """Return the FLOPs of a typical network in that form, as a share of those at 224×224."""
    own = in_form_of(level, reference(TYPICAL))
    formed = dataclasses.replace(own, **form)
    return cost_of(lower(formed)).flops / cost_of(lower(own)).flops


def _too_small(level: SearchSpace, data: ImageData) -> str:
    """Return what an input that is too small must be."""
    least = level.baseline(TYPICAL).total_stride
    return (
        f"must be at least {least}x{least}, for the strides of space {level.name}, or be that of "
        f"the images, {as_typed(data.resolution, data.channels)}, which has the stem of the "
        "recipe; a space file with stem_pool: false takes less"
    )
