"""Mount and look over the next root of a jail while the present one serves."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, JailSpec, Presence
from commands.steps.remount_root import listed
from commands.steps.step import Phase, Step
from ledger.facts import RootStaged
from ledger.names import ReleaseName


class StageRoot(Step):
    """Mount a release beside the jail's root and inspect it, so that the switch is only a move.

    The staged mount is used up by the switch: once the release is mounted as the root, staging is done.
    """

    kind: Literal["stage_root"] = "stage_root"
    phase: ClassVar[Phase] = Phase.PREPARE
    volatile: ClassVar[bool] = True
    release: ReleaseName
    path: str
    jail: JailSpec

    def probe(self, on: Drivers) -> Presence:
        """Whether the release is mounted at the stage."""
        layers = on.mounts.layers(self.path)
        if layers == 0:
            return Presence.ABSENT
        ours = layers == 1 and on.mounts.holds(self.path, on.storage.root_source(self.release))
        return Presence.PRESENT if ours else Presence.FOREIGN

    def run(self, on: Drivers) -> None:
        """Mount the release read-only and look it over."""
        on.mounts.mount(on.storage.root_source(self.release), self.path)
        on.inspect_root(self.path, self.jail)

    def undo(self, on: Drivers) -> None:
        """Unmount the stage."""
        on.mounts.unmount(self.path)

    def fact(self, on: Drivers) -> RootStaged:
        """What is staged where."""
        return RootStaged(before=None, after=self.release, jail=self.jail.name, release=self.release, path=self.path)

    def surprise(self, on: Drivers) -> str:
        """What is mounted at the stage."""
        return f"expected nothing or {self.release}, found {listed(on.mounts.shown(self.path))}"

    def forward_words(self) -> str:
        """One line for people."""
        return f"mount {self.release} at {self.path} and check it while {self.jail.name} still serves"

    def undo_words(self) -> str:
        """One line for people."""
        return f"unmount {self.path}"
