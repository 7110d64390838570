"""Which recipes a full training can follow, and how large the images have to be for one."""

import dataclasses

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.network import Classifier


def data_side(recipe: Recipe, network: Classifier, device: str = "cpu") -> int:
    """The side at which the data are to be opened, pixels: crops are cut out of these images.

    Raises:
        ConfigError: `recipe` cannot be followed with `network` on `device`; names the field.
    """
    side, full = network.resolution, recipe.full_training
    if recipe.resolution not in (None, side):
        allowed = f"{side}, the side that the network takes"
        raise ConfigError("recipe resolution", recipe.resolution, allowed)
    for name in ("width_factor", "seeds"):
        if getattr(recipe, name) != 1:
            allowed = "1 in a full training, which is one of the whole network"
            raise ConfigError(f"recipe {name}", getattr(recipe, name), allowed)
    if recipe.precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("recipe precision", "fp16", "fp32 or bf16 where there is no GPU")
    if full is None:
        return side
    if recipe.resolution is None:
        allowed = f"{side} where there is full_training, whose validation_resize goes with it"
        raise ConfigError("recipe resolution", None, allowed)
    if full.validation_resize < side:
        allowed = f"{side} or more, the side of the centre that is cut out"
        raise ConfigError("recipe validation_resize", full.validation_resize, allowed)
    if full.train_resolution is not None:
        if full.train_resolution > full.validation_resize:
            allowed = (
                f"{full.validation_resize} or less, the side of the images that it is cut from"
            )
            raise ConfigError("recipe train_resolution", full.train_resolution, allowed)
        dataclasses.replace(network, resolution=full.train_resolution)  # refuses one too small
    return full.validation_resize
