"""Images a second of our training loop against the usual one, on the same network and data.

The usual loop is a `DataLoader` over PIL images with torchvision's transforms. Both train the same
network from the same weights for the same epochs with the same optimiser and schedule, and mirror
and shift alike; only how batches come about, and the form of tensors and optimiser, differ.

A training of the usual loop has torch's own number of threads, one for each core. A search has as
many trainings of one thread at once, and all of them together count. Each round has a seed of its
own. Rounds alternate, and the best rate of each is compared, since other load on a machine only
ever slows. Accuracies are compared by seed.

    python benchmarks/training_throughput.py --network shufflenet_v2_x0_5 --rounds 5
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData, Part, channel_statistics
from nas_sv2.evaluate.fitting.course import one_cycle
from nas_sv2.evaluate.fitting.determinism import core_count, cpu_threads, stream
from nas_sv2.evaluate.fitting.subset import choose_images
from nas_sv2.evaluate.fitting.validation import refresh_norms, validate
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import built_in_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

Loop = Callable[..., tuple[float, float]]  # images a second, validation accuracy


class PictureSet(Dataset[tuple[torch.Tensor, int]]):
    """What a tutorial would write: one PIL image at a time through a chain of transforms."""

    def __init__(self, part: Part, shift: int) -> None:
        """Keep `part` as PIL images, so that no decoding is timed."""
        mean, deviation = channel_statistics(part.images)
        arrays = part.images.permute(0, 2, 3, 1).squeeze(3).numpy()
        self.pictures = [Image.fromarray(array) for array in arrays]
        self.labels = part.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(part.images.shape[2], shift, padding_mode="edge"),
                transforms.ToTensor(),
                transforms.Normalize((mean / 255).tolist(), (deviation / 255).tolist()),
            ]
        )

    def __len__(self) -> int:
        """How many images."""
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One image, transformed, and its label."""
        return self.transform(self.pictures[index]), self.labels[index]


def usual_loop(
    training: ProxyTraining, architecture: Architecture, workers: int
) -> tuple[float, float]:
    """The loop of torchvision's references, in short."""
    how, data = training.recipe, training.data
    module = build_module(lower(training.adapt(architecture)), stream(training.seed, "weights"))
    optimiser = torch.optim.SGD(
        module.parameters(), how.learning_rate, how.momentum, nesterov=True,
        weight_decay=how.weight_decay,
    )  # fmt: skip
    loader = DataLoader(
        PictureSet(data.train, how.shift), how.batch, shuffle=True, drop_last=True,
        num_workers=workers, persistent_workers=workers > 0,
    )  # fmt: skip
    steps, step, images = how.epochs * len(loader), 0, 0
    started = time.perf_counter()
    for _ in range(how.epochs):
        module.train()
        for inputs, labels in loader:
            optimiser.param_groups[0]["lr"] = one_cycle(
                step, steps, how.learning_rate, how.warm_up
            )
            loss = functional.cross_entropy(
                module(inputs), labels, label_smoothing=how.label_smoothing
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            step, images = step + 1, images + len(labels)
    rate = images / (time.perf_counter() - started)
    refresh_norms(module, training.batches, how.norm_images, stream(training.seed, "norms"))
    part = choose_images(data.val, how.validation_images)
    return rate, validate(module, part, training.normalise, "cpu").figure.value


def our_loop(training: ProxyTraining, architecture: Architecture) -> tuple[float, float]:
    """`ProxyTraining`, as a search runs it."""
    evaluation = training.evaluate(architecture)
    return evaluation.images_per_second, evaluation.figure.value


def first(data: ImageData, images: int) -> ImageData:
    """The same data with fewer training images, drawn at random."""
    part = choose_images(data.train, images)
    return ImageData(data.name, data.key, data.class_names, part, data.val)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to use the machine: `at_once` trainings by `loop`, each of so many threads."""

    name: str
    loop: Loop
    threads: int
    at_once: int


_opened: list[tuple[ImageData, Recipe, Architecture]] = []
"""The question, in each process."""


def open_question(network: str, spec: str, images: int, epochs: int) -> None:
    """Open the data in this process."""
    quick = built_in_recipe("quick")
    recipe = Recipe(
        "benchmark", epochs, batch=quick.batch, learning_rate=quick.learning_rate,
        validation_images=2000, hopeless_after=0,
    )  # fmt: skip
    _opened[:] = [(first(open_data(spec), images), recipe, reference(network))]


def one_training(loop: Loop, threads: int, seed: int) -> tuple[float, float]:
    """Images a second and accuracy of one training in this process."""
    ((data, recipe, architecture),) = _opened
    torch.manual_seed(seed)  # the order and the augmentation of the usual loop
    with cpu_threads(threads):
        return loop(ProxyTraining(recipe, data, seed, threads), architecture)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="shufflenet_v2_x0_5")
    parser.add_argument("--data", default="animals")
    parser.add_argument("--images", type=int, default=6400, help="training images an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cores = core_count()
    ways = (
        Way("DataLoader, 0 workers", partial(usual_loop, workers=0), cores, 1),
        Way("DataLoader, 2 workers", partial(usual_loop, workers=2), cores, 1),
        Way("ours", our_loop, 1, cores),
    )
    question = (options.network, options.data, options.images, options.epochs)
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    context = get_context("spawn")
    print(f"{' '.join(map(str, question))}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    for seed in range(options.rounds):
        for way in ways:
            # Not a pool of daemons, which may have no workers of a DataLoader.
            with ProcessPoolExecutor(way.at_once, context, open_question, question) as pool:
                several = [
                    pool.submit(one_training, way.loop, way.threads, seed + 1000 * number)
                    for number in range(way.at_once)
                ]
                rates, accuracies = zip(*(each.result() for each in several), strict=True)
            found[way.name].append((sum(rates), accuracies[0]))
            print(f"seed {seed}  {way.name:24}{sum(rates):7.0f} {accuracies[0]:.4f}", flush=True)
    print(f"{'way':<24}{'images/s':>10}{'ours is':>9}{'val top-1':>11}{'ours less it':>22}")
    best = max(rate for rate, _ in found["ours"])
    for name, rounds in found.items():
        rate, mean = max(rate for rate, _ in rounds), statistics.fmean(a for _, a in rounds)
        less = [own - a for (_, own), (_, a) in zip(found["ours"], rounds, strict=True)]
        error = statistics.stdev(less) / len(less) ** 0.5
        difference = f"{statistics.fmean(less):+.4f} ± {error:.4f}"
        print(f"{name:<24}{rate:>10.0f}{best / rate:>8.2f}×{mean:>11.4f}{difference:>22}")


if __name__ == "__main__":
    main()
