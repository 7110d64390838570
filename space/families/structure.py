"""The structure of a published network: how it is built, and how sure that is."""

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
        source: The place of the structure.
        paper_mflops: Its cost in the paper's tables, in 10⁶ multiply-adds; None without a row.
        reconstructed: The facts that the sources leave open, and how they were decided; empty if
            there are none.
        resolution: Side of its input.
    """

    family: str
    build: Build
    source: str
    paper_mflops: float | None = None
    reconstructed: str = ""
    resolution: int = 224
