"""Take a release out of use."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence
from commands.steps.step import Phase, Step
from ledger.facts import ReleaseRetired
from ledger.names import ReleaseName, TransactionId


class RetireRelease(Step):
    """Put a release into the trash of this transaction; it is destroyed after the commit, and only then."""

    kind: Literal["retire_release"] = "retire_release"
    phase: ClassVar[Phase] = Phase.PREPARE
    release: ReleaseName
    by: TransactionId

    def probe(self, on: Drivers) -> Presence:
        """Whether the release is in the trash."""
        return on.storage.retired_presence(self.release, self.by)

    def run(self, on: Drivers) -> None:
        """Put the release into the trash."""
        on.storage.retire_release(self.release, self.by)

    def undo(self, on: Drivers) -> None:
        """Take the release out of the trash."""
        on.storage.restore_release(self.release, self.by)

    def fact(self, on: Drivers) -> ReleaseRetired:
        """Which release it was."""
        return ReleaseRetired(before=self.release, after=None, release=self.release)

    def forward_words(self) -> str:
        """One line for people."""
        return f"retire release {self.release}; it is destroyed after the commit"

    def undo_words(self) -> str:
        """One line for people."""
        return f"put release {self.release} back"
