"""Start a jail on its root."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, JailSpec, JailState, Presence
from commands.errors import DriverError, HostUnreachable
from commands.steps.check_health import with_last_words
from commands.steps.remount_root import listed
from commands.steps.step import Phase, Step
from ledger.facts import JailStarted
from ledger.names import ReleaseName


class StartJail(Step):
    """Start a jail on the release that is mounted as its root. Its undo stops the jail."""

    kind: Literal["start_jail"] = "start_jail"
    phase: ClassVar[Phase] = Phase.SWITCH
    volatile: ClassVar[bool] = True
    jail: JailSpec
    release: ReleaseName

    def probe(self, on: Drivers) -> Presence:
        """Whether the jail runs on the release; a jail that runs on another root was started by somebody else."""
        runtime = on.jails[self.jail.driver]
        match runtime.state(self.jail):
            case JailState.STOPPED:
                return Presence.ABSENT
            case JailState.RUNNING:
                ours = runtime.runs_on(self.jail, on.storage.root_source(self.release))
                return Presence.PRESENT if ours else Presence.FOREIGN
            case _:
                return Presence.PARTIAL

    def run(self, on: Drivers) -> None:
        """Start the jail."""
        try:
            on.jails[self.jail.driver].start(self.jail)
        except HostUnreachable:
            raise
        except DriverError as error:
            error.remedy = with_last_words(on, self.jail, error.remedy, error.message)
            raise

    def undo(self, on: Drivers) -> None:
        """Stop the jail."""
        on.jails[self.jail.driver].stop(self.jail)

    def fact(self, on: Drivers) -> JailStarted:
        """Which jail it was."""
        return JailStarted(before="stopped", after=f"running on {self.release}", jail=self.jail.name)

    def surprise(self, on: Drivers) -> str:
        """On what the jail runs."""
        root = listed(on.mounts.shown(self.jail.root))
        expected = f"expected {self.jail.name} to be stopped or to run on {self.release}"
        return f"{expected}, found it running on another root; at {self.jail.root} is {root}"

    def forward_words(self) -> str:
        """One line for people."""
        return f"start {self.jail.name} on {self.release}"

    def undo_words(self) -> str:
        """One line for people."""
        return f"stop {self.jail.name}"
