"""The log of a long training: a CSV of its passes, and curves for TensorBoard."""

import csv
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.course import PassRecord
from nas_sv2.files import write_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CSV, TENSORBOARD = "log.csv", "tensorboard"


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """The log of one training, in its folder.

    Attributes:
        folder: The folder.
        curves: Writer of TensorBoard's curves; None without the package.
    """

    folder: Path
    curves: "SummaryWriter | None"

    @classmethod
    def of(cls, folder: Path, step: int, notify: Callable[[str], None]) -> "TrainingLog":
        """Continue the log after `step`; later points of an earlier process are hidden.

        Without the package `tensorboard` the log is the CSV alone, and `notify` hears it.

        Raises:
            StoreError: If the folder cannot be written.
        """
        if importlib.util.find_spec("tensorboard") is None:
            notify(f"no curves are drawn beside {CSV}: pip install 'nas-sv2[tensorboard]'")
            return cls(folder, None)
        from torch.utils.tensorboard import SummaryWriter

        try:
            curves = SummaryWriter(
                str(folder / TENSORBOARD), purge_step=step + 1 if step else None
            )
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error}") from error
        return cls(folder, curves)

    def draw(self, step: int, figures: Mapping[str, float]) -> None:
        """Add points to the curves; they are on disk before the next checkpoint."""
        if self.curves is None:
            return
        for name, value in figures.items():
            self.curves.add_scalar(name, value, step)
        self.curves.flush()

    def write_passes(self, records: Sequence[PassRecord], processes: int) -> None:
        """Write the CSV, a row for each pass, and draw the last pass.

        The file is written whole, so that no pass is there twice.

        Raises:
            StoreError: If the file cannot be written.
        """
        rows = pass_rows(records, processes)
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        try:
            write_whole(self.folder / CSV, text.getvalue().encode())
        except OSError as error:
            raise StoreError(f"{self.folder / CSV} cannot be written: {error}") from error
        figure = _column(records[-1])
        names = ("train_loss", figure, "val_loss", "images_per_second")
        self.draw(records[-1].step, {f"pass/{name}": float(rows[-1][name]) for name in names})

    def close(self) -> None:
        """Close the curves."""
        if self.curves is not None:
            self.curves.close()


def _column(record: PassRecord) -> str:
    return f"val_{record.validation.figure.by}"


def pass_rows(records: Sequence[PassRecord], processes: int) -> list[dict[str, float]]:
    """Return a row of the log for each pass.

    The training loss is that of the first process.
    """
    return [
        {
            "pass": number,
            "step": record.step,
            "learning_rate": record.trained.learning_rate,
            "train_loss": record.trained.loss,
            _column(record): record.validation.figure.value,
            "val_loss": record.validation.loss,
            "train_seconds": round(record.trained.seconds, 3),
            "images_per_second": round(
                processes * record.trained.images / record.trained.seconds, 1
            ),
        }
        for number, record in enumerate(records, 1)
    ]
