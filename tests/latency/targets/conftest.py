from pathlib import Path

import pytest

from nas_sv2.space.units.reference import reference


@pytest.fixture
def latency_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CSV table with V2 0.5× at 10 ms and V2 2× at 50 ms, for the example `CsvTable`."""
    file = tmp_path / "latencies.csv"
    ms = {"shufflenet_v2_x0_5": 10.0, "shufflenet_v2_x2_0": 50.0}
    lines = [f"{reference(name).digest},{value}" for name, value in ms.items()]
    file.write_text("\n".join(["digest,ms", *lines, ""]))
    monkeypatch.setenv("LATENCIES", str(file))
    return file
