"""A training by several processes on one machine, as torchrun starts them.

Each process takes its share of every batch and draws its augmentations from a stream of its own.
`DistributedDataParallel` averages the gradients. Batch norms take the statistics of the share, as
usual; running statistics are those of the first process.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import Part, kind_of
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.batches import Batches, Supply
from nas_sv2.evaluate.fitting.determinism import stream
from nas_sv2.evaluate.fitting.validation import (
    Answers,
    Validation,
    count_answers,
    validate,
)
from nas_sv2.evaluate.recipes.scores import SCORES

PATIENCE = timedelta(hours=12)  # the others wait while the first decodes a folder of images


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a training.

    Attributes:
        count: Number of processes.
        rank: Number of this process, from 0.
        local_rank: Its number on its machine, and so its GPU.
    """

    count: int = 1
    rank: int = 0
    local_rank: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Processes":
        """Read torchrun's variables in `environment`; without them, one process is alone."""
        if "WORLD_SIZE" not in environment or "RANK" not in environment:
            return cls()
        rank = int(environment["RANK"])
        local = int(environment.get("LOCAL_RANK", rank))
        return cls(int(environment["WORLD_SIZE"]), rank, local)

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def joined(self, device: str) -> Iterator[None]:
        """Join the other processes, if any, over gloo on a CPU and nccl on GPUs."""
        if self.count == 1:
            yield
            return
        if device.startswith("cuda"):
            torch.cuda.set_device(self.local_rank)
        backend = "nccl" if device.startswith("cuda") else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        if self.count > 1:
            distributed.barrier()

    def wrapped(self, module: nn.Module) -> nn.Module:
        """`module` with gradients that are averaged over all processes."""
        return module if self.count == 1 else DistributedDataParallel(module)

    def share(
        self, batches: Batches, mixed: Callable[[Batches], Supply] = lambda batches: batches
    ) -> Supply:
        """The share of this process in `batches`.

        Args:
            batches: The batches of all processes together.
            mixed: Mixes the images of batches, by draws of the process's own.

        Raises:
            ConfigError: If a batch cannot be shared out evenly.
        """
        if self.count == 1:
            return mixed(batches)
        images = len(batches.labels)
        if batches.size % self.count or batches.size > min(images, batches.limit or images):
            allowed = (
                f"must be a multiple of {self.count} processes, no more than the images of a pass"
            )
            raise ConfigError("recipe.batch", batches.size, allowed)
        return Share(batches, self, mixed)

    def local(self, batches: Batches) -> Batches:
        """Batches of the size that one process takes."""
        return dataclasses.replace(batches, size=batches.size // self.count)

    def equalise_buffers(self, module: nn.Module) -> None:
        """Give all processes the running statistics of the first."""
        if self.count > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def validate(
        self, module: nn.Module, part: Part, normalise: Normalise, device: str, score: str
    ) -> Validation:
        """Validate as `validation.validate`, with a share of the images for each process.

        A user's own metric, several labels and numbers need the answers to all images, so each
        process asks for all.
        """
        whole = score not in SCORES or kind_of(part.labels) != "classes"
        if self.count == 1 or len(part) < self.count or whole:
            return validate(module, part, normalise, device, score)
        mine = Part(part.images[self.rank :: self.count], part.labels[self.rank :: self.count])
        found = count_answers(module, mine, normalise, device)
        counts = [found.right, found.images, found.named]
        sums = torch.cat([*counts, torch.tensor([found.loss])]).double()
        sums = sums.to(device)
        distributed.all_reduce(sums)
        right, images, named = sums[:-1].cpu().round().long().chunk(3)
        return Answers(right, images, named, float(sums[-1])).validation


@dataclass(frozen=True, eq=False, slots=True)
class Share:
    """The part of each batch that one of several processes takes; a `Supply`."""

    batches: Batches
    processes: Processes
    mixed: Callable[[Batches], Supply]

    @property
    def device(self) -> str:
        """Torch device of the batches."""
        return self.batches.device

    @property
    def labels(self) -> Tensor:
        """Labels of the images that all processes use together, int64 (M,)."""
        return self.batches.labels

    def __len__(self) -> int:
        """Number of batches a pass, of all processes together."""
        return len(self.batches)

    def order(self, generator: torch.Generator) -> Tensor:
        """The images of one pass, the same in every process."""
        return self.mixed(self.batches).order(generator)

    def take(
        self, order: Tensor, number: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """This process's share of batch `number`.

        `generator` gives the same numbers in every process; they seed the draws of each process.
        """
        drawn = int(torch.randint(2**62, (), generator=generator))
        own = stream(drawn, f"process {self.processes.rank}")
        mine = order[self.processes.rank :: self.processes.count]
        return self.mixed(self.processes.local(self.batches)).take(mine, number, own)
