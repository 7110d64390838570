"""The loss of a network's answers: against labels of each kind, and against a teacher's answers.

A teacher of classes is learnt from as Hinton, Vinyals and Dean do ("Distilling the Knowledge in a
Neural Network", 2015). Several labels are as many questions of yes or no, each with a divergence
of its own (Yang et al., "Multi-Label Knowledge Distillation", ICCV 2023, section 3.2). A number of
the teacher is a second label, at the distance that the first has too.
"""

from torch import Tensor
from torch.nn import functional

from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.recipes.scores import LabelKind


def loss_against_labels(
    kind: LabelKind,
    answers: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
    scale: LabelScale | None = None,
) -> Tensor:
    """Return the mean loss over a batch.

    It is the cross-entropy of classes and the mean of the binary ones of several labels, nats. For
    numbers it is the mean absolute error, in standard deviations.

    Args:
        kind: The kind of the labels.
        answers: Logits (N, classes); of numbers, answers (N, 1) in the unit of the labels.
        labels: Classes (N,) or their probabilities (N, classes); of several labels,
            probabilities (N, classes); numbers (N,).
        smoothing: Share of the target that is spread over all classes; of several labels, over
            yes and no.
        weights: Weights of the classes, (classes,); None for equal ones.
        scale: The scale of numbers; else None.
    """
    if scale is not None:
        return functional.l1_loss(answers[:, 0], labels) / scale.deviation
    if kind == "labels":
        targets = labels * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(answers, targets)
    return functional.cross_entropy(answers, labels, weights, label_smoothing=smoothing)


def loss_against_teacher(
    kind: LabelKind,
    answers: Tensor,
    taught: Tensor,
    temperature: float,
    scale: LabelScale | None = None,
) -> Tensor:
    """Return the mean loss against the answers of a teacher, both of one shape; see the module.

    It is T² · KL(teacher ∥ student) of classes; of several labels, the mean over the labels of
    the same between yes and no, both nats. For numbers it is the mean absolute difference, in
    standard deviations, and there is no temperature.
    """
    if scale is not None:
        return functional.l1_loss(answers, taught) / scale.deviation
    learnt, soft = (logits.float() / temperature for logits in (answers, taught))
    if kind == "labels":  # a row for each label, whose softmax is (sigmoid, 1 - sigmoid)
        learnt, soft = (functional.pad(logits.reshape(-1, 1), (0, 1)) for logits in (learnt, soft))
    learnt, soft = functional.log_softmax(learnt, 1), functional.log_softmax(soft, 1)
    apart = functional.kl_div(learnt, soft, reduction="batchmean", log_target=True)
    return temperature**2 * apart
