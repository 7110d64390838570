"""A target of one's own: latencies that another tool measured, read from a CSV table.

The table has a line for each network, by its digest:

    digest,ms
    3f0e6b...,12.5

Give it to a command as `--target csv_target:CsvTable`.
"""

import csv
import os
from pathlib import Path

from nas_sv2.errors import MeasurementError
from nas_sv2.latency.measurements.measurement import Latency, Provenance
from nas_sv2.space.networks.lowering import Network


class CsvTable:
    """Latencies of a table; the environment variable LATENCIES names its file."""

    name = "my-board"
    provenance: Provenance = "measured"

    def __init__(self, file: Path | None = None) -> None:
        """Read the table."""
        self.file = file or Path(os.environ["LATENCIES"])
        with self.file.open(newline="") as lines:
            self.ms = {row["digest"]: float(row["ms"]) for row in csv.DictReader(lines)}

    def estimate(self, network: Network) -> Latency:
        """Find the network in the table."""
        if network.digest not in self.ms:
            raise MeasurementError(f"{self.file} has no line for the network {network.digest}")
        return Latency.of(self.ms[network.digest], self.provenance, f"my board, {self.file.name}")
