"""Guideline profiles in the database of the measurements.

A profile belongs to a device with its runtime and a protocol, or to the table of an emulated
target.
"""

import json
import shlex
from dataclasses import dataclass
from typing import NamedTuple, Self

from sqlalchemy import Index, Select, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from nas_sv2.database.database import Database
from nas_sv2.database.schema import Base
from nas_sv2.documents import reading_stored
from nas_sv2.latency.guidelines.profile import SCHEMA, GuidelineProfile, is_covered
from nas_sv2.latency.targets.target import NO_IDENTITY, Target, known_identity
from nas_sv2.plain_data import parse_json

REMEDY = "nas-sv2 device guidelines makes a new one"


class ProfileRow(Base):
    """A stored profile; `document` is the text of `GuidelineProfile.to_json`."""

    __tablename__ = "nas_guideline_profiles"
    __table_args__ = (Index("nas_guideline_profiles_key", "target", "device_key", "plan_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(String(128))
    device_key: Mapped[str] = mapped_column(String(64))
    plan_key: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(Text)


class DeviceKey(NamedTuple):
    """The key of a profile: a target's name, its device with runtime, and its protocol."""

    target: str
    device: str
    plan: str

    @classmethod
    def of(cls, target: Target) -> Self:
        """Return the key of an open target.

        Raises:
            DeviceError: If the device does not answer or the target has no identity.
        """
        identity = known_identity(target)
        return cls(target.name, identity.device, identity.protocol)


@dataclass(frozen=True)
class ProfileStore:
    """Finds and saves guideline profiles.

    Attributes:
        db: Database, in which the tables are created if they are missing.

    Raises:
        StoreError: If the tables cannot be created.
    """

    db: Database

    def __post_init__(self) -> None:
        """Create the tables if they are missing."""
        self.db.migrate()

    def find(self, key: DeviceKey) -> GuidelineProfile | None:
        """Return the newest profile of this device and protocol, or None.

        Raises:
            StoreError: If the database cannot be read or the stored profile is invalid.
        """
        return self._newest(
            select(ProfileRow.document).where(
                ProfileRow.target == key.target,
                ProfileRow.device_key == key.device,
                ProfileRow.plan_key == key.plan,
            )
        )

    def find_of(self, target: Target) -> GuidelineProfile | None:
        """Return the newest profile of an open target, or None.

        Raises:
            DeviceError: If the device does not answer.
            StoreError: If the database cannot be read or the stored profile is invalid.
        """
        return None if target.identity() is None else self.find(DeviceKey.of(target))

    def find_of_name(self, target: str, device: str | None = None) -> GuidelineProfile | None:
        """Return the newest profile of a target of this name, for any protocol.

        Args:
            target: The name.
            device: The device in words; None for any.

        Raises:
            StoreError: If the database cannot be read or the stored profile is invalid.
        """
        query = select(ProfileRow.document).where(ProfileRow.target == target)
        return self._newest(query, device)

    def find_digest(self, digest: str) -> GuidelineProfile | None:
        """Return the profile with this digest, or None.

        Raises:
            StoreError: If the database cannot be read or the stored profile is invalid.
        """
        query = select(ProfileRow.document).where(ProfileRow.digest == digest)
        return self._newest(query, remedy="a study that began with it needs a backup")

    def remedy(self, target: Target) -> str:
        """Give the command that makes a profile of an open target, or say that it has none.

        Raises:
            DeviceError: If the device does not answer.
        """
        if target.identity() is None:
            return f"{target.name} {NO_IDENTITY}"
        if not is_covered(target):
            return f"{target.name} has no profile, as it has a price of too few networks"
        words = ("nas-sv2", "device", "guidelines", "--target", target.name, *self.db.options)
        return f"{shlex.join(words)} makes one"

    def save(self, key: DeviceKey, profile: GuidelineProfile) -> None:
        """Store `profile`; older ones stay, and the newest counts.

        Raises:
            StoreError: If the database cannot be written.
        """
        row = ProfileRow(
            target=key.target,
            device_key=key.device,
            plan_key=key.plan,
            digest=profile.digest,
            document=json.dumps(profile.to_json()),
        )
        with self.db.session("a guideline profile cannot be saved") as session:
            session.add(row)

    def _newest(
        self, query: Select[str], device: str | None = None, remedy: str = REMEDY
    ) -> GuidelineProfile | None:
        with self.db.session("guideline profiles cannot be read") as session:
            for text in session.scalars(query.order_by(ProfileRow.id.desc())):
                found = _read(text, remedy)
                if device is None or (found is not None and found.device == device):
                    return found
        return None


def _read(text: str, remedy: str) -> GuidelineProfile | None:
    """Read a stored profile; None if it has another schema."""
    with reading_stored("a stored guideline profile", remedy):
        document = parse_json(text)
        return GuidelineProfile.from_json(document) if document["schema"] == SCHEMA else None
