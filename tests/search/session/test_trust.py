"""What a search says of the devices that it measures on, before it begins."""

from pathlib import Path

import pytest
from scripted import PLAN, ROUNDS, ScriptedDevice, measurement_of, samples_of

from nas_sv2.database.database import Database
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.doctor import examine
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.search.events.events import Event, SearchDescribed
from nas_sv2.search.session.plan import plan_search
from nas_sv2.search.session.session import search


@pytest.mark.parametrize(
    ("slowness", "said"),
    [
        (None, ["run nas-sv2 device grade --target cpu --storage sqlite:///"]),
        (0.0, []),
        (1.0, ["cpu was graded poor (the reference network's ms varied by 50.0% from"]),
    ],
)
def test_the_grade_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slowness: float | None, said: list[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    if slowness is not None:
        step = slowness
        device = ScriptedDevice(
            lambda number: measurement_of(
                samples_of([3.0 * (1 + step * number)] * ROUNDS),
                samples_of([2.0 * (1 + step * number)] * ROUNDS),
            )
        )
        store = MeasurementStore(Database.open(url))
        examine(MeasuredDevice("cpu", device, PLAN, store), 3, 0.0)
        store.db.close()

    def opened(
        self: TargetBook, name: str, *, store: MeasurementStore, **_: object
    ) -> MeasuredTarget:
        return MeasuredTarget(MeasuredDevice(name, ScriptedDevice(), PLAN, store))

    monkeypatch.setattr(TargetBook, "open", opened)
    heard: list[SearchDescribed] = []

    def end_there(event: Event) -> None:
        if isinstance(event, SearchDescribed):
            heard.append(event)
            raise KeyboardInterrupt

    plan = plan_search("cpu", ["140M"], recipe="smoke", storage=url)
    with pytest.raises(KeyboardInterrupt):
        search(plan, Database.open(url), end_there)
    told = [line.strip() for line in heard[0].lines if "device grade" in line]
    assert len(told) == len(said)
    assert all(line.startswith(start) for line, start in zip(told, said, strict=True))
