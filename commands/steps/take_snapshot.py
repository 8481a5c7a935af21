"""Take a release of a template."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence
from commands.steps.step import Phase, Step
from ledger.facts import SnapshotTaken
from ledger.names import ReleaseName, TransactionId


class TakeSnapshot(Step):
    """Take an immutable snapshot of a template's head."""

    kind: Literal["take_snapshot"] = "take_snapshot"
    phase: ClassVar[Phase] = Phase.PREPARE
    release: ReleaseName
    head: TransactionId

    def probe(self, on: Drivers) -> Presence:
        """Whether the release is there and immutable."""
        return on.storage.release_presence(self.release)

    def run(self, on: Drivers) -> None:
        """Take the snapshot."""
        on.storage.take_release(self.release, self.head)

    def undo(self, on: Drivers) -> None:
        """Destroy the snapshot, which nothing can use yet."""
        on.storage.destroy_release(self.release)

    def fact(self, on: Drivers) -> SnapshotTaken:
        """The storage's evidence of the release's content."""
        fingerprint = on.storage.fingerprint(self.release)
        return SnapshotTaken(before=None, after=self.release, release=self.release, fingerprint=fingerprint)

    def forward_words(self) -> str:
        """One line for people."""
        return f"take release {self.release}"

    def undo_words(self) -> str:
        """One line for people."""
        return f"destroy release {self.release}"
