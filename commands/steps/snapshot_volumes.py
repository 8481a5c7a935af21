"""Keep the data of a stopped jail as it is at the moment of the stop."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence
from commands.steps.step import Phase, Step
from ledger.facts import VolumesSnapshotted
from ledger.names import Name, TransactionId


class SnapshotVolumes(Step):
    """Snapshot every volume of the jail. The volumes themselves are never rewound.

    The undo keeps a complete snapshot, marked unwound: when an upgrade fails after the new release has written to the
    volumes, it is the only copy of the data as it was before.
    """

    kind: Literal["snapshot_volumes"] = "snapshot_volumes"
    phase: ClassVar[Phase] = Phase.SWITCH
    jail: Name
    volumes: tuple[Name, ...]
    snapshot: TransactionId

    def probe(self, on: Drivers) -> Presence:
        """Whether every volume has its snapshot."""
        return on.storage.snapshot_presence(self.jail, self.volumes, self.snapshot)

    def run(self, on: Drivers) -> None:
        """Take the snapshots."""
        on.storage.snapshot_volumes(self.jail, self.volumes, self.snapshot)

    def undo(self, on: Drivers) -> None:
        """Set the snapshots aside."""
        on.storage.set_snapshot_aside(self.jail, self.volumes, self.snapshot)

    def fact(self, on: Drivers) -> VolumesSnapshotted:
        """Which volumes were kept."""
        return VolumesSnapshotted(
            before=None, after=self.snapshot, jail=self.jail, snapshot=self.snapshot, volumes=self.volumes
        )

    def forward_words(self) -> str:
        """One line for people."""
        return f"snapshot the data of {self.jail} ({', '.join(self.volumes)})"

    def undo_words(self) -> str:
        """One line for people."""
        return "keep the data snapshot, marked unwound; the volumes are not rewound"
