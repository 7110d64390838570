"""Images a second of our training loop against the usual one, on the same network and data.

The usual loop is a `DataLoader` over PIL images with torchvision's transforms. Both train the same
network from the same weights for the same epochs with the same optimiser and schedule, and mirror
and shift alike; only how batches come about, and the form of tensors and optimiser, differ. Rounds
alternate, and the best of each is compared, since other load on a machine only ever slows.

    python benchmarks/training_throughput.py --network shufflenet_v2_x0_5 --images 3200
"""

import argparse
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData, Part, channel_statistics
from nas_sv2.evaluate.fitting.course import one_cycle
from nas_sv2.evaluate.fitting.determinism import cpu_threads, stream
from nas_sv2.evaluate.fitting.subset import choose_images
from nas_sv2.evaluate.fitting.validation import refresh_norms, validate
from nas_sv2.evaluate.proxy.training import ProxyTraining
from nas_sv2.evaluate.recipes.files import built_in_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.reference import reference

Round = Callable[[], tuple[float, float]]  # images a second, validation accuracy


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
    return rate, validate(module, part, training.normalise, "cpu").accuracy


def our_loop(training: ProxyTraining, architecture: Architecture) -> tuple[float, float]:
    """`ProxyTraining`, as a search runs it."""
    evaluation = training.evaluate(architecture)
    return evaluation.images_per_second, evaluation.accuracy


def feeding(training: ProxyTraining, workers: int | None) -> float:
    """Images a second that the batches alone would allow; ours where `workers` is None."""
    started, images = time.perf_counter(), 0
    if workers is None:
        for _, labels in training.batches.one_pass(stream(0, "feeding")):
            images += len(labels)
    else:
        pictures = PictureSet(training.data.train, training.recipe.shift)
        started = time.perf_counter()
        for _, labels in DataLoader(pictures, training.recipe.batch, num_workers=workers):
            images += len(labels)
    return images / (time.perf_counter() - started)


def first(data: ImageData, images: int) -> ImageData:
    """The same data with fewer training images, drawn at random."""
    part = choose_images(data.train, images)
    return ImageData(data.name, data.key, data.class_names, part, data.val)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="shufflenet_v2_x0_5")
    parser.add_argument("--data", default="animals")
    parser.add_argument("--images", type=int, default=3200, help="training images an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()

    quick = built_in_recipe("quick")
    how = Recipe(
        "benchmark", options.epochs, batch=quick.batch, learning_rate=quick.learning_rate,
        validation_images=1000, hopeless_after=0,
    )  # fmt: skip
    data = first(open_data(options.data), options.images)
    training = ProxyTraining(how, data, threads=options.threads)
    architecture = reference(options.network)
    loops: dict[str, Round] = {
        "DataLoader, 0 workers": lambda: usual_loop(training, architecture, 0),
        "DataLoader, 2 workers": lambda: usual_loop(training, architecture, 2),
        "ours": lambda: our_loop(training, architecture),
    }
    best = dict.fromkeys(loops, (0.0, 0.0))
    with cpu_threads(training.threads):
        for _ in range(options.rounds):
            for name, one_round in loops.items():
                best[name] = max(best[name], one_round())
        fed = {
            "DataLoader, 0 workers": feeding(training, 0),
            "DataLoader, 2 workers": feeding(training, 2),
            "ours": feeding(training, None),
        }
    print(
        f"{options.network}, {data.name} at {data.side}×{data.side}, {how.epochs} × "
        f"{len(data.train)} images, batch {how.batch}, {training.threads} threads, "
        f"best of {options.rounds}"
    )
    print(f"{'loop':<24}{'images/s':>10}{'batches alone':>16}{'val top-1':>11}{'ours is':>9}")
    for name, (rate, accuracy) in best.items():
        ratio = best["ours"][0] / rate
        print(f"{name:<24}{rate:>10.0f}{fed[name]:>16.0f}{accuracy:>11.3f}{ratio:>8.2f}×")


if __name__ == "__main__":
    main()
