"""Ask a started jail whether it is well."""

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, Literal

from commands.drivers.base import Drivers, HealthCheck, JailSpec, JailState, Presence
from commands.errors import DriverError, Foreign
from commands.steps.step import Phase, Step
from ledger.facts import HealthPassed
from ledger.names import ReleaseName

#: The longest pause between two questions: a jail that is slow to come up is not asked in a tight loop for ever.
SLOWEST_POLL_S = 0.1
#: The last question is asked with at least this much time for its answer.
_LEAST_PATIENCE_S = 0.5
#: How often the runtime is asked whether the jail still runs: a dead jail need not be waited for.
_STATE_EVERY_S = 0.25
#: How long a jail without health checks is left alone before it is looked at whether it still runs.
UNASKED_S = 0.2
#: How many characters of a line that a jail has printed a message quotes.
_LINE_CHARACTERS = 200


class CheckHealth(Step):
    """Ask every check, over and over, until each was answered well often enough in a row; the downtime ends here.

    Only then, so that it costs no downtime, it makes sure that what answered runs on the release: a supervisor that
    restarts the jail by itself in the middle of the switch would bring the former root back.

    The first questions come close together (``interval_s``), so that the check itself does not lengthen the downtime;
    the pause grows by a tenth each time. It changes nothing on the host, so there is nothing to probe or to undo.
    """

    kind: Literal["check_health"] = "check_health"
    phase: ClassVar[Phase] = Phase.SWITCH
    changes_host: ClassVar[bool] = False
    jail: JailSpec
    release: ReleaseName
    checks: tuple[HealthCheck, ...]

    def probe(self, on: Drivers) -> Presence:
        """Always ABSENT: an answer of the past is worth nothing, so it is asked again."""
        return Presence.ABSENT

    def run(self, on: Drivers) -> None:
        """Ask until all is well. Raises DriverError with the last answer when a check runs out of time."""
        trouble = wait_for_health(on, self.jail, self.checks)
        if trouble is not None:
            raise DriverError(trouble, remedy=with_last_words(on, self.jail))
        if not self.checks:  # nobody would notice a command that ends at once
            on.clock.sleep(UNASKED_S)
        runtime = on.jails[self.jail.driver]
        if not runtime.runs_on(self.jail, on.storage.root_source(self.release)):
            if runtime.state(self.jail) is not JailState.RUNNING:
                raise DriverError(
                    f"cannot keep {self.jail.name} running: its command {self.jail.command[0]} has ended by itself",
                    remedy=with_last_words(on, self.jail, "the command has to stay in the foreground"),
                )
            raise Foreign(
                f"cannot trust the answers of {self.jail.name}: it does not run on {self.release}, "
                "somebody else has started it",
                remedy="stop whatever starts it beside rootswap",
            )

    def undo(self, on: Drivers) -> None:
        """Nothing to take back."""

    def fact(self, on: Drivers) -> HealthPassed:
        """Which checks were passed."""
        names = tuple(check.name for check in self.checks)
        return HealthPassed(before=None, after="healthy", jail=self.jail.name, checks=names)

    def forward_words(self) -> str:
        """One line for people."""
        asked = ", ".join(_asked(check) for check in self.checks) or "that it runs"
        return f"check the health of {self.jail.name}: {asked}"

    def undo_words(self) -> str:
        """One line for people."""
        return "nothing to undo"


def wait_for_health(on: Drivers, jail: JailSpec, checks: Sequence[HealthCheck]) -> str | None:
    """Ask every check until each was answered well often enough; else what is wrong, in one sentence."""
    for check in checks:
        trouble = _wait_for(on, jail, check)
        if trouble is not None:
            if on.jails[jail.driver].state(jail) is not JailState.RUNNING:
                return f"cannot pass health check {check.name}: the jail has stopped by itself"
            return f"cannot pass health check {check.name} within {check.timeout_s:g} s: {trouble}"
    return None


def with_last_words(on: Drivers, jail: JailSpec, remedy: str = "", message: str = "") -> str:
    """A remedy, and what the jail itself has printed of late and is not in the message.

    That is for the operator's eyes: it is in no message, since a message is in the log for ever, and a program may
    print what nobody should keep.
    """
    words: tuple[str, ...] = ()
    with suppress(DriverError):  # to quote it is a courtesy
        words = on.jails[jail.driver].last_words(jail)
    quoted = ", ".join(f'"{shortened(line)}"' for line in words if line not in message)
    told = f"{jail.name} printed last: {quoted}" if quoted else ""
    return "; ".join(filter(None, (remedy, told)))


def shortened(line: str) -> str:
    """A line as far as a message quotes it."""
    return line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"


def _wait_for(on: Drivers, jail: JailSpec, check: HealthCheck) -> str | None:
    begun = on.clock.monotonic_ns()
    pause = check.interval_s
    in_a_row = 0
    ask_state_at_s = _STATE_EVERY_S
    while True:
        left_s = check.timeout_s - (on.clock.monotonic_ns() - begun) / 1e9
        trouble = on.health.ask(check.model_copy(update={"timeout_s": max(left_s, _LEAST_PATIENCE_S)}), jail)
        in_a_row = 0 if trouble else in_a_row + 1
        if in_a_row >= check.successes:
            return None
        spent_s = (on.clock.monotonic_ns() - begun) / 1e9
        if spent_s >= check.timeout_s:
            return trouble or "too few good answers in a row"
        if spent_s >= ask_state_at_s and on.jails[jail.driver].state(jail) is JailState.STOPPED:
            return trouble
        if spent_s >= ask_state_at_s:
            ask_state_at_s += _STATE_EVERY_S
        on.clock.sleep(pause)
        pause = min(pause * 1.1, max(SLOWEST_POLL_S, check.interval_s))


def _asked(check: HealthCheck) -> str:
    what = check.http or check.tcp or " ".join(check.command or ())
    return f"{check.name} ({what})"
