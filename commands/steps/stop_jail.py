"""Stop a jail."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, HealthCheck, JailSpec, JailState, Presence
from commands.steps.check_health import wait_for_health
from commands.steps.remount_root import mount_root
from commands.steps.step import Phase, Step
from ledger.facts import JailStopped
from ledger.names import ReleaseName


class StopJail(Step):
    """Stop a jail that runs on ``release``; the downtime begins here.

    Its undo starts the jail again, and mounts the release first where a reboot has taken the mount away. It then waits
    for the jail to be well, so that a transaction that was rolled back has left it serving; a jail that does not get
    well there is as it was before or at least no worse, and is left running.
    """

    kind: Literal["stop_jail"] = "stop_jail"
    phase: ClassVar[Phase] = Phase.SWITCH
    volatile: ClassVar[bool] = True
    jail: JailSpec
    release: ReleaseName
    checks: tuple[HealthCheck, ...] = ()

    def probe(self, on: Drivers) -> Presence:
        """Whether the jail is stopped."""
        match on.jails[self.jail.driver].state(self.jail):
            case JailState.STOPPED:
                return Presence.PRESENT
            case JailState.RUNNING:
                return Presence.ABSENT
            case _:
                return Presence.PARTIAL

    def run(self, on: Drivers) -> None:
        """Stop the jail."""
        on.jails[self.jail.driver].stop(self.jail)

    def undo(self, on: Drivers) -> None:
        """Start the jail; one that is half way is stopped first."""
        runtime = on.jails[self.jail.driver]
        if self.probe(on) is Presence.PARTIAL:
            runtime.stop(self.jail)
        if on.mounts.layers(self.jail.root) == 0:
            mount_root(on, self.release, self.jail.root)
        runtime.start(self.jail)
        wait_for_health(on, self.jail, self.checks)

    def fact(self, on: Drivers) -> JailStopped:
        """Which jail it was."""
        return JailStopped(before="running", after="stopped", jail=self.jail.name)

    def was_killed(self, duration_ns: int | None) -> bool:
        """Whether a stop that took so long had to kill: a runtime of ours does so after the timeout, and not before.

        jail(8) has a timeout of its own, in jail.conf, of which nothing is known here.
        """
        return self.jail.driver != "jail" and duration_ns is not None and duration_ns >= self.jail.stop_timeout_s * 1e9

    def forward_words(self) -> str:
        """One line for people."""
        return f"stop {self.jail.name} ({self.jail.stop_signal}, killed after {self.jail.stop_timeout_s:g} s)"

    def undo_words(self) -> str:
        """One line for people."""
        return f"start {self.jail.name} on {self.release} again"
