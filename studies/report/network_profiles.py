"""Where the time of a front's networks goes, on the targets of their study."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.latency.breakdown.profiled import Profile, profile_of
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.targets import Target, open_target
from nas_sv2.studies.findings.record import Record


@dataclass(frozen=True, slots=True)
class WinnerProfiles:
    """Prices networks on emulated targets, and times them on measured ones where it may.

    Attributes:
        storage: Where measurements are kept.
        ask_devices: Whether measured targets are asked; it takes them seconds a network.
        told: Is told what is waited for.
    """

    storage: str
    ask_devices: bool
    told: Callable[[str], None]

    def __call__(
        self, records: Mapping[int, Record]
    ) -> tuple[dict[int, dict[str, Profile]], list[str]]:
        """By trial, by target; and why a target is left out, a line each."""
        found: dict[int, dict[str, Profile]] = {number: {} for number in records}
        notes = []
        for name in next(iter(records.values())).latencies if records else ():
            try:
                profiles = self._on(name, records)
            except (ConfigError, DeviceError, MeasurementError) as error:
                notes.append(f"{name} cannot tell: {error}")
                continue
            if profiles is None:
                notes.append(f"{name} was not asked; --profile times the operators there")
                continue
            for number, profile in profiles.items():
                found[number][name] = profile
        return found, notes

    def _on(self, name: str, records: Mapping[int, Record]) -> dict[int, Profile] | None:
        """The profiles on one target; None where it was not to be asked."""
        kinds = {record.latencies[name].provenance for record in records.values()}
        if kinds != {"emulated"} and not self.ask_devices:
            return None
        with (
            closing(MeasurementStore.open(self.storage)) as store,
            closing(open_target(name, store=store, told=self.told)) as target,
        ):
            return self._profiles(target, records)

    def _profiles(self, target: Target, records: Mapping[int, Record]) -> dict[int, Profile]:
        found = {}
        for number, record in records.items():
            self.told(f"{target.name}: operators of trial {number}")
            profile = profile_of(target, record.architecture)
            was, here = record.latencies[target.name].device, profile.whole.device
            if was != here:
                raise DeviceError(f"the study was measured on {was}; here is {here}")
            found[number] = profile
        return found
