"""Builds and checks the table behind the emulated ARM target; README.md says how."""

import argparse
import datetime
import pickle
import sys
from pathlib import Path

from arm_table.check import check
from arm_table.emulator import Emulator, Run
from arm_table.fit import fit
from arm_table.grid import RESOLUTIONS, Point, batches
from arm_table.samples import Overhead, Sample, samples, write_model
from arm_table.table_file import render

OVERHEAD_BATCHES = ("gates", "map_7")  # where what is not the kernel weighs most


def main() -> None:
    """One command, one function."""
    parser = argparse.ArgumentParser(prog="arm_table", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "run the calibration grid under emulation and write the table"),
        ("check", "run whole networks under emulation against the shipped table"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, help="what setup.sh built")
        if name == "build":
            command.add_argument("table", type=Path, help="the JSON file to write")
            command.add_argument(
                "--resolutions",
                type=int,
                nargs="+",
                default=RESOLUTIONS,
                help="input sides, 224 among them; default: %(default)s",
            )
    arguments = parser.parse_args()
    emulator = Emulator(arguments.folder.resolve())
    if arguments.command == "build":
        build(emulator, arguments.table, tuple(arguments.resolutions))
    else:
        check(emulator)


def build(emulator: Emulator, table: Path, resolutions: tuple[int, ...]) -> None:
    """Every batch of the grid, then the fit; a batch that has been run is not run again."""
    grid = batches(resolutions)
    runs = {name: _runs(emulator, name, points, profile=True) for name, points in grid.items()}
    profiled = [run for name in OVERHEAD_BATCHES for run in runs[name]]
    whole = [
        run
        for name in OVERHEAD_BATCHES
        for run in _runs(emulator, name, grid[name], profile=False)
    ]
    overhead = Overhead.fit(profiled, whole)
    print(f"cycles beside the kernels: {overhead}")
    found: list[Sample] = []
    for name, points in grid.items():
        for point, run in zip(points, runs[name], strict=True):
            found += samples(point.graph, run, overhead)
    entries = fit(found)
    today = datetime.date.today().isoformat()
    table.write_text(render(entries, emulator.versions, overhead, today), encoding="utf-8")
    print(f"{len(entries)} entries from {len(found)} kernels: {table}")


def _runs(emulator: Emulator, name: str, points: tuple[Point, ...], *, profile: bool) -> list[Run]:
    work = emulator.folder / "work" / (name if profile else f"{name}_whole")
    kept = work / "runs.pickle"
    if not kept.exists():
        print(f"{work.name}: {len(points)} models", file=sys.stderr)
        models = [write_model(point.name, point.graph, work) for point in points]
        kept.write_bytes(pickle.dumps(emulator.run(models, work, profile=profile)))
        for file in (*work.glob("*.onnx"), *work.glob("*_20*.json"), *work.glob("run.*")):
            file.unlink()
    runs: list[Run] = pickle.loads(kept.read_bytes())
    return runs


if __name__ == "__main__":
    main()
