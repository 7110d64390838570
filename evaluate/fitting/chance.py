"""Whether a training has learnt more than chance after its first steps."""

import math
from dataclasses import dataclass

import torch

from nas_sv2.evaluate.recipes.recipe import Recipe

# ShuffleNet V2 0.5x was at chance for its first 15 to 30 steps, on animals and on coloured noise,
# and 40 % to 95 % right in the end. To end a shorter training early saves nothing.
PATIENCE = 50  # steps before which no training is given up


@dataclass(slots=True)
class ChanceCheck:
    """Judges whether a network has learnt nothing of the images it trains on.

    It watches from half of the recipe's share of the steps to the whole of it. A network has
    learnt nothing if two things hold. Its answers are no more often right than the commonest
    class is, up to two standard errors. And its loss is within 1 % of the loss of the class
    shares alone, or above. The second spares a network on lopsided data, which may know much
    before it first names a rare class.

    Attributes:
        chance: Share of the commonest class.
        ignorance: Loss of the class shares as the answer to everything, nats.
        first: Step from which it watches, counted from 0.
        last: Step at which it decides; -1 for never.
    """

    chance: float
    ignorance: float
    first: int
    last: int
    right: float = 0.0
    loss: float = 0.0
    seen: int = 0

    @classmethod
    def of(cls, labels: torch.Tensor, recipe: Recipe, steps: int) -> "ChanceCheck":
        """Make the check of a training of `steps` on `labels`."""
        shares = torch.bincount(labels).double() / len(labels)
        smoothing = recipe.label_smoothing
        targets = (1 - smoothing) * shares + smoothing / len(shares)
        last = math.ceil(recipe.hopeless_after * steps) - 1
        entropy = float(torch.special.entr(targets).sum())
        if last + 1 < PATIENCE:
            last = -1  # never
        return cls(float(shares.max()), entropy, last // 2, last)

    def judge(
        self, step: int, loss: float, logits: torch.Tensor, labels: torch.Tensor
    ) -> str | None:
        """Return a reason to stop, in words, if `step` decides and nothing was learnt."""
        if not self.first <= step <= self.last:
            return None
        self.right += float((logits.detach().argmax(1) == labels).sum())
        self.loss += loss * len(labels)
        self.seen += len(labels)
        if step < self.last:
            return None
        right = self.right / self.seen
        error = math.sqrt(self.chance * (1 - self.chance) / self.seen)
        if right > self.chance + 2 * error or self.loss / self.seen < 0.99 * self.ignorance:
            return None
        return (
            f"no better than chance after {step + 1} steps: {right:.1%} of the training images "
            f"right, {self.chance:.1%} by chance"
        )
