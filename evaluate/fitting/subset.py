"""The part of a data set that a recipe uses: the same for every candidate and every seed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.scores import IMAGES


@dataclass(frozen=True, eq=False, slots=True)
class Subset:
    """The images of a training and its validation.

    Attributes:
        classes: Number of classes.
        train: All training images, with the labels 0 to `classes` - 1.
        among: Indices of the training images that are used, (M,); None for all.
        val: The validation images.
    """

    classes: int
    train: Part
    among: Tensor | None
    val: Part


def choose_subset(data: ImageData, recipe: Recipe) -> Subset:
    """The images of `data` that `recipe` uses; training images are not copied.

    Raises:
        ConfigError: If the classes drawn have no image to train or to validate on.
    """
    train, val, classes, among = data.train, data.val, data.classes, None
    if data.kind != "classes" and recipe.classes is not None:
        allowed = f"must be left out for {IMAGES[data.kind]}"
        raise ConfigError("recipe.classes", recipe.classes, allowed)
    if recipe.classes is not None and recipe.classes < classes:
        draw = stream(recipe.subset_seed, "classes")
        kept = torch.randperm(classes, generator=draw)[: recipe.classes].sort().values
        classes = len(kept)
        number = torch.full((data.classes,), -1)
        number[kept] = torch.arange(classes)
        train, labels = Part(train.images, number[train.labels]), number[val.labels]
        among, chosen = (train.labels >= 0).nonzero()[:, 0], (labels >= 0).nonzero()[:, 0]
        val = Part(val.images[chosen], labels[chosen])
        if not len(among) or not len(val):
            raise ConfigError(
                "recipe.classes", recipe.classes, "must name classes that have images"
            )
    limit = recipe.train_images
    if limit is not None and limit < len(train if among is None else among):
        every = torch.arange(len(train)) if among is None else among
        drawn = torch.randperm(len(every), generator=stream(recipe.subset_seed, "train images"))
        among = every[drawn[:limit]].sort().values
    return Subset(classes, train, among, choose_images(val, recipe.validation_images))


def choose_images(part: Part, limit: int | None) -> Part:
    """Return `part`, or `limit` images of it: the same for every candidate and every seed."""
    if limit is None or limit >= len(part):
        return part
    index = torch.randperm(len(part), generator=stream(0, "validation"))[:limit].sort().values
    return Part(part.images[index], part.labels[index])
