"""Scores of a network without training it, in a second.

Each score follows its paper, which claims that higher is better; none is an accuracy. Certificates
say how well a score orders networks. The network is the one that would be trained, with its
initial weights, except that every batch norm starts at 1, as in the papers. Training starts the
norm before a sum at 0, and no gradient would reach its branch. Batch norms take the statistics
of the batch, except in `synflow`.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_sv2.errors import EvaluationError
from nas_sv2.evaluate.data.image_data import ImageData, Part, kind_of
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.label_loss import loss_against_labels
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.subset import choose_subset
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.graph.operators import Activation, Add, GlobalAveragePool, Graph
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import GraphModule, Run, build_module
from nas_sv2.space.units.architecture import Architecture

IMAGES = 64  # in one batch; a forward and backward pass of V2 0.5x at 28×28 takes 50 to 70 ms
JACOBIAN_FLOOR = 1e-5  # k of Mellor et al. (v1), added to eigenvalues
ZEN_STEP = 0.01  # α of Lin et al., by which the input is perturbed
ZEN_IMAGES, ZEN_DRAWS = 16, 8  # images of noise; draws of weights and noise to average


@dataclass(frozen=True, eq=False, slots=True)
class Untrained:
    """The network and the images that the scores use.

    Attributes:
        graph: The network as it would be trained.
        images: One batch, float32 (N, C, H, W), normalised, no two alike.
        labels: Their labels, as in `Part`.
        seed: Seed of weights and noise.
        scale: The scale of labels that are numbers; else None.
    """

    graph: Graph
    images: Tensor
    labels: Tensor
    seed: int
    scale: LabelScale | None = None

    def network(self) -> GraphModule:
        """The network with its initial weights, in training mode."""
        return _started(self.graph, self.seed)


def untrained_scores(
    architecture: Architecture, data: ImageData, recipe: Recipe, seed: int = 0
) -> dict[str, float]:
    """All scores of `architecture` as `recipe` would train it on `data`; higher is better.

    The same seed gives the same images and noise to every network. One CPU thread is used.

    Raises:
        ConfigError: If the recipe is for full training, or the images are too small.
        EvaluationError: If a score is not a finite number; names the score.
    """
    adapted = ProxyTraining(recipe, data, seed).adapt(architecture)
    with cpu_threads(1):  # sums over several threads round otherwise
        images, labels = _batch(data, recipe, seed)
        scale = LabelScale.of(data.train.labels)
        untrained = Untrained(lower(adapted), images, labels, seed, scale)
        scores = {name: score(untrained) for name, score in SCORES.items()}
    for name, score in scores.items():
        if not math.isfinite(score):
            raise EvaluationError(f"the untrained network's {name} is {score}")
    return scores


def params(untrained: Untrained) -> float:
    """The number of learnt parameters."""
    return float(cost_of(untrained.graph).params)


def flops(untrained: Untrained) -> float:
    """The multiply-adds for one image."""
    return float(cost_of(untrained.graph).flops)


def synflow(untrained: Untrained) -> float:
    """Logarithm of the synaptic flow (Tanaka et al. 2020, section 6), over all kernels.

    The flow is the sum of |weight · gradient|. The gradient is that of R, the summed output for an
    input of ones and absolute weights. Batch norms pass their input unchanged. Precision is
    double, since R grows with every layer.
    """
    module = untrained.network().double().eval()  # fresh statistics: 0 and 1
    for parameter in module.parameters():
        parameter.data.abs_()
    ones = torch.ones_like(untrained.images[:1], dtype=torch.float64)
    kernels = _kernels(module)
    gradients = torch.autograd.grad(module(ones).sum(), kernels)
    flow = sum(
        float((kernel * gradient).detach().abs().sum())
        for kernel, gradient in zip(kernels, gradients, strict=True)
    )
    return _log(flow)


def naswot(untrained: Untrained) -> float:
    """log|det K| of the ReLUs' binary codes (Mellor et al. 2021, section 3).

    K counts, for each two images of the batch, the ReLUs that are on for both or off for both.
    Two images of one code make K singular. The score is then 0 in place of minus infinity: the
    least that a regular matrix of whole numbers can have.
    """
    images = untrained.images
    alike = torch.zeros(len(images), len(images), dtype=torch.float64)
    relus = {op.name for op in untrained.graph.ops if op.kind == Activation("relu")}

    def counted(name: str, run: Run) -> Run:
        def count(value: Tensor) -> Tensor:
            result = run(value)
            assert isinstance(result, Tensor)
            on = (result > 0).flatten(1).float()  # exact up to 2^24 ReLUs in one operator
            alike.add_(on @ on.T + (1 - on) @ (1 - on).T)
            return result

        return count if name in relus else run

    module = untrained.network()
    module.wrap_steps(counted)
    with torch.no_grad():
        module(images)
    if len(torch.unique(alike, dim=0)) < len(images):
        return 0.0
    return max(0.0, float(torch.linalg.slogdet(alike).logabsdet))


def jacob_cov(untrained: Untrained) -> float:
    """How little the Jacobians of the images correlate (Mellor et al. 2020, arXiv 2006.04647v1).

    With the eigenvalues v of the correlations between the images' gradients of the summed logits:
    −Σ (log(v + k) + 1/(v + k)).
    """
    images = untrained.images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(untrained.network()(images).sum(), images)
    correlations = torch.corrcoef(gradients.flatten(1).double())
    if not correlations.isfinite().all():
        return math.nan  # an image without a gradient; eigvalsh would raise
    eigenvalues = torch.linalg.eigvalsh(correlations).clamp(min=0) + JACOBIAN_FLOOR
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def zen(untrained: Untrained) -> float:
    """The Zen score (Lin et al. 2021, algorithm 1), a mean over several draws.

    It is the log of the change of the map before the global pool if noise is perturbed. The logs
    of the deviations by which batch norms divide are added. Kernels are N(0, 1). Sums pass their
    branch alone, since the paper removes residual links. The paper treats chains; deviations of
    parallel branches are summed, as in the authors' code.
    """
    module = _up_to_the_pool(untrained)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # running variances are then those of the last batch
    noise = stream(untrained.seed, "zen")
    shape = (ZEN_IMAGES, *untrained.images.shape[1:])
    draws = []
    with torch.no_grad():
        for _ in range(ZEN_DRAWS):
            before = torch.randn(shape, generator=noise)
            after = before + ZEN_STEP * torch.randn(shape, generator=noise)
            for kernel in _kernels(module):
                nn.init.normal_(kernel, generator=noise)
            output = module(before)
            scale = math.fsum(map(_log_deviation, norms))
            moved = (module(after) - output).flatten(1).norm(dim=1).mean()
            draws.append(_log(float(moved)) + scale)
    return statistics.fmean(draws)


def grad_norm(untrained: Untrained) -> float:
    """Sum of the kernels' gradient norms (Abdelfattah et al. 2021, section 3.2), one batch.

    The loss is that of a training on such labels, without label smoothing.
    """
    module, scale = untrained.network(), untrained.scale
    answers, labels = module(untrained.images), untrained.labels
    answers = answers if scale is None else scale.in_unit(answers)
    loss = loss_against_labels(kind_of(labels), answers, labels, scale=scale)
    gradients = torch.autograd.grad(loss, _kernels(module))
    return float(sum(gradient.norm() for gradient in gradients))


SCORES: Mapping[str, Callable[[Untrained], float]] = {
    "params": params,
    "flops": flops,
    "synflow": synflow,
    "naswot": naswot,
    "jacob_cov": jacob_cov,
    "zen": zen,
    "grad_norm": grad_norm,
}


def _started(graph: Graph, seed: int) -> GraphModule:
    module = build_module(graph, stream(seed, "weights"))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
    return module.to(memory_format=torch.channels_last)


def _kernels(module: nn.Module) -> list[Tensor]:
    """The kernels of convolutions and fully connected layers."""
    return [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _up_to_the_pool(untrained: Untrained) -> GraphModule:
    """The network to the map before its last global pool, without residual links."""
    ops = untrained.graph.ops
    last = max(i for i, op in enumerate(ops) if isinstance(op.kind, GlobalAveragePool))
    graph = Graph(untrained.graph.input, ops[last].source, ops[:last])
    module = _started(graph, untrained.seed)
    sums = {op.name for op in graph.ops if isinstance(op.kind, Add)}
    module.wrap_steps(lambda name, run: _branch_alone if name in sums else run)
    return module


def _branch_alone(identity: Tensor, branch: Tensor) -> Tensor:
    return branch


def _log_deviation(norm: nn.BatchNorm2d) -> float:
    """Log of the root of the mean variance that its channels were divided by."""
    assert norm.running_var is not None
    return _log(float(norm.running_var.mean())) / 2


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _batch(data: ImageData, recipe: Recipe, seed: int) -> tuple[Tensor, Tensor]:
    """Some training images, normalised by their own statistics, and their labels.

    They are not augmented, since the scores concern the network. No two are alike: such a pair
    adds nothing, and makes the K of every network singular.
    """
    subset = choose_subset(data, recipe)
    part = subset.train
    among = torch.arange(len(part)) if subset.among is None else subset.among
    drawn = among[torch.randperm(len(among), generator=stream(seed, "untrained scores"))]
    index = torch.tensor(_distinct(part, drawn))
    images = part.images[index]
    return Normalise.of(images)(images), part.labels[index]


def _distinct(part: Part, drawn: Tensor) -> list[int]:
    """The first `IMAGES` of `drawn` that differ in their pixels."""
    found: dict[bytes, int] = {}
    for number in drawn.tolist():
        found.setdefault(part.images[number].numpy().tobytes(), number)
        if len(found) == IMAGES:
            break
    return list(found.values())
