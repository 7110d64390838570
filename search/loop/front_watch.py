"""The front of a study that grows, without comparing again what was beaten before."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas_sv2.studies.findings.front import Entry, front_of
from nas_sv2.studies.findings.record import Record


@dataclass
class FrontWatch:
    """Compares the front with what is new since the last look.

    What is beaten stays so: what beats the one that beat it beats it too. Only where a record of
    the front itself was changed, as by a later measurement, are all compared again.
    """

    _shown: set[int] = field(default_factory=set)
    _seen: Mapping[int, Record] = field(default_factory=dict)

    def look(self, records: Mapping[int, Record]) -> tuple[list[Entry], list[Record]]:
        """What `front_of` gives of `records`, and what is not in it of those that were compared.

        Args:
            records: Every record of the study by its trial, as it is now.
        """
        if all(records.get(number) is self._seen[number] for number in self._shown):
            compared = {
                number: record
                for number, record in records.items()
                if number in self._shown or self._seen.get(number) is not record
            }
        else:
            compared = dict(records)
        entries = front_of(compared)
        self._shown, self._seen = {entry.number for entry in entries}, records
        beaten = [record for number, record in compared.items() if number not in self._shown]
        return entries, beaten
