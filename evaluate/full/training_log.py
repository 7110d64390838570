"""What a long training says about itself while it runs: a CSV for all, TensorBoard for curves."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_sv2.errors import StoreError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CSV, TENSORBOARD = "log.csv", "tensorboard"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """The log of one training, in its folder.

    Attributes:
        folder: Where.
        curves: TensorBoard's.
    """

    folder: Path
    curves: "SummaryWriter"

    @classmethod
    def of(cls, folder: Path, step: int) -> "TrainingLog":
        """A log that goes on after `step`: what an earlier process drew beyond it is hidden.

        Raises:
            StoreError: The folder cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        try:
            curves = SummaryWriter(
                str(folder / TENSORBOARD), purge_step=step + 1 if step else None
            )
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error}") from error
        return cls(folder, curves)

    def draw(self, step: int, figures: Mapping[str, float]) -> None:
        """Points of the curves after `step`, by their names."""
        for name, value in figures.items():
            self.curves.add_scalar(name, value, step)

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """The CSV: a row for each pass. Written whole, so that a pass never stands there twice.

        Raises:
            StoreError: It cannot be written.
        """
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        partial = self.folder / f"{CSV}.{os.getpid()}"
        try:
            partial.write_text(text.getvalue())
            os.replace(partial, self.folder / CSV)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StoreError(f"{self.folder / CSV} cannot be written: {error}") from error

    def flush(self) -> None:
        """Put the curves on disk."""
        self.curves.flush()

    def close(self) -> None:
        """End it."""
        self.curves.close()
