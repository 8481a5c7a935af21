"""Give a release up that was destroyed behind our back."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence
from commands.errors import DriverError
from commands.steps.step import Phase, Step
from ledger.facts import ReleaseRetired
from ledger.names import ReleaseName


class ForgetRelease(Step):
    """Record that a release is gone, or that no jail can run on what is left of it, which the engine then destroys.

    It changes nothing on the host, so there is nothing to probe or to undo.
    """

    kind: Literal["forget_release"] = "forget_release"
    phase: ClassVar[Phase] = Phase.PREPARE
    changes_host: ClassVar[bool] = False
    release: ReleaseName

    def probe(self, on: Drivers) -> Presence:
        """Always ABSENT: it only looks, and looks again."""
        return Presence.ABSENT

    def run(self, on: Drivers) -> None:
        """Look once more. Raises DriverError if the release has come back, or something foreign is in its place."""
        presence = on.storage.release_presence(self.release)
        if presence not in (Presence.ABSENT, Presence.PARTIAL):
            raise DriverError(
                f"cannot give up release {self.release}: it is {presence} again",
                remedy=f"run `rootswap release destroy {self.release}` once more",
            )

    def undo(self, on: Drivers) -> None:
        """Nothing to take back."""

    def fact(self, on: Drivers) -> ReleaseRetired:
        """Which release it was."""
        return ReleaseRetired(before=self.release, after=None, release=self.release)

    def forward_words(self) -> str:
        """One line for people."""
        return f"record that release {self.release} is gone already"

    def undo_words(self) -> str:
        """One line for people."""
        return "nothing to undo"
