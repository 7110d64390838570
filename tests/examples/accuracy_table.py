"""An evaluator that looks accuracies up in a table, made by a training of your own.

nas-sv2 search --target arm --budget 140M --evaluator accuracy_table:AccuracyTable
"""

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture

# Top-1 by millions of multiply-adds: the figures of the paper's networks.
PUBLISHED = {41: 0.603, 146: 0.694, 299: 0.726, 591: 0.749}


class AccuracyTable:
    """The accuracy of the published network whose complexity is nearest."""

    name = "published accuracies"

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Look the accuracy of `architecture` up."""
        mflops = cost_of(lower(architecture)).flops / 1e6
        if mflops > 2 * max(PUBLISHED):
            raise EvaluationError(f"the table has no network of {mflops:.0f} MFLOPs")
        nearest = min(PUBLISHED, key=lambda known: abs(known - mflops))
        return Evaluation(PUBLISHED[nearest], recipe="ImageNet, as published", data="ImageNet")
