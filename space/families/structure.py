"""What a published network's file gives: how it is built, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass

from nas_sv2.space.graph.operators import GraphBuilder, Value

Build = Callable[[GraphBuilder, Value, int], Value]
"""Appends the operators that turn an image into logits of so many classes."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A network that others published, in our operators.

    Attributes:
        family: As the paper's tables name it.
        build: Its operators.
        source: Where the structure stands.
        paper_mflops: What the paper's tables say it costs, in 10⁶ multiply-adds; None where it has
            no row.
        reconstructed: What the sources leave open and how it was decided; empty where they leave
            nothing open.
        resolution: Side of its input.
    """

    family: str
    build: Build
    source: str
    paper_mflops: float | None = None
    reconstructed: str = ""
    resolution: int = 224
