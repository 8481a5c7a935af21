"""Create the read-write volumes of a jail."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence, Volume
from commands.steps.step import Phase, Step
from ledger.facts import VolumesCreated
from ledger.names import Name, ReleaseName


class CreateVolumes(Step):
    """Create volumes that are not there yet, each filled with what the release has in its directory.

    Its undo destroys only what this very transaction created.
    """

    kind: Literal["create_volumes"] = "create_volumes"
    phase: ClassVar[Phase] = Phase.PREPARE
    jail: Name
    volumes: tuple[Volume, ...]
    release: ReleaseName

    def probe(self, on: Drivers) -> Presence:
        """Whether all of the volumes are there and filled."""
        return all_or_part([on.storage.volume_presence(self.jail, volume.name) for volume in self.volumes])

    def run(self, on: Drivers) -> None:
        """Create the volumes; a half-filled one is made anew."""
        for volume in self.volumes:
            if on.storage.volume_presence(self.jail, volume.name) is Presence.PARTIAL:
                on.storage.destroy_volume(self.jail, volume.name)
            on.storage.create_volume(self.jail, volume, self.release)

    def undo(self, on: Drivers) -> None:
        """Destroy the volumes, last first."""
        for volume in reversed(self.volumes):
            on.storage.destroy_volume(self.jail, volume.name)

    def fact(self, on: Drivers) -> VolumesCreated:
        """Which volumes there are now."""
        names = tuple(volume.name for volume in self.volumes)
        return VolumesCreated(before=None, after=", ".join(names), jail=self.jail, volumes=names)

    def forward_words(self) -> str:
        """One line for people."""
        listed = ", ".join(f"{volume.name} for {volume.path}" for volume in self.volumes)
        return f"create the volumes {listed}, filled from {self.release}"

    def undo_words(self) -> str:
        """One line for people."""
        return "destroy the volumes that this transaction created"


def all_or_part(presences: list[Presence]) -> Presence:
    """The presence of a whole from those of its parts."""
    if Presence.FOREIGN in presences:
        return Presence.FOREIGN
    if all(presence is Presence.PRESENT for presence in presences):
        return Presence.PRESENT
    if all(presence is Presence.ABSENT for presence in presences):
        return Presence.ABSENT
    return Presence.PARTIAL
