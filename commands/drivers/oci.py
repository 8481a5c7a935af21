"""Jails as OCI containers: runc, crun, youki, whatever takes runc's command line.

The runtime's own state is in the jail's directory, so that the containers of others are never met. The runtime is asked
for the state as JSON, and the kernel by the jail's cgroup: a runtime that was killed half way remembers nothing, and
what it has started must never share its volumes with a second start.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from commands.drivers.base import Completed, Host, JailSpec, JailState, Source
from commands.drivers.cgroups import BESIDE, Cgroup, cgroup_mount, required_mount, until, with_private_view
from commands.drivers.first_process import first_in, root_is
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.kept_output import OUTPUT, into_output, keep_output, release_output
from commands.drivers.last_words import LastWords
from commands.drivers.mounts import mounted, topmost
from commands.drivers.netns import make_network, namespace_of, remove_network, require_link, require_network_tools
from commands.drivers.oci_config import rendered
from commands.drivers.signals import signal_word
from commands.drivers.strays import brought_in, kill_sessions, origins
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError, ToolTimedOut
from ledger.clock import Clock, SystemClock

DEFAULT_RUNTIME = "runc"
#: What a runtime says of a container that it does not know; not all of them give it an exit status of its own.
_UNKNOWN = ("does not exist", "no such file or directory", "not found")
_ASK_TIMEOUT_S = 10.0
#: The words of the runtime are few; this is for one that is started in vain over and over.
_LOG_BYTES = 1 << 20
#: A jail that has not ended by then may be paused. It is not asked before: most end sooner than a runtime answers.
_PAUSED_AFTER_S = 0.25

_STATES = {
    "creating": JailState.STARTING,
    "created": JailState.STARTING,
    "paused": JailState.STARTING,
    "pausing": JailState.STARTING,
    "running": JailState.RUNNING,
}


class OciJails:
    """OCI containers whose bundle, state, log and output are in ``directory``/NAME.

    The administrator's settings are JSON that is merged over the ``config.json``.
    """

    def __init__(self, host: Host, directory: str, clock: Clock | None = None) -> None:
        self._host = host
        self._directory = directory
        self._clock = clock or SystemClock()
        self._words = LastWords(host)

    def preflight(self, jail: JailSpec) -> None:
        """Whether the runtime is installed and can be told to run this jail, and the jail is not paused."""
        runtime = _runtime(jail)
        if runtime.startswith("/"):
            require_trusted(self._host, runtime)
        self._host.run([runtime, "--version"], timeout_s=_ASK_TIMEOUT_S)
        require_network_tools(self._host, jail)
        require_link(self._host, jail)
        if not jail.command or not jail.command[0].startswith("/"):
            raise DriverError(f"cannot run jail {jail.name}: its command is not an absolute path")
        required_mount(self._host, jail.name)
        self._rendered(jail)
        if self._payload(jail).is_populated() and self._asked(jail)[0] == "paused":
            by_hand = " ".join([runtime, "--root", f"{self._home(jail)}/state", "resume", jail.name])
            raise DriverError(f"cannot change jail {jail.name}: it is paused", remedy=f"run `{by_hand}`")

    def state(self, jail: JailSpec) -> JailState:
        """What the runtime says; STOPPING while a process is left of a jail that the runtime has forgotten."""
        if not self._payload(jail).is_populated():
            return JailState.STOPPED
        status, _ = self._asked(jail)
        if status in _STATES:
            return _STATES[status]
        return JailState.STOPPING if self._payload(jail).is_populated() else JailState.STOPPED

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """Whether the jail's first process has ``source`` as its root."""
        if not self._payload(jail).is_populated():
            return False
        status, pid = self._asked(jail)
        return status == "running" and pid is not None and root_is(self._host, pid, source)

    def start(self, jail: JailSpec) -> None:
        """Start the jail; returns when its command was executed. A paused jail goes on; what is left of a crashed
        start is killed first."""
        if self._payload(jail).is_populated():
            status, _ = self._asked(jail)
            if status == "paused":
                self._host.run(self._tool(jail, "resume", jail.name), timeout_s=_ASK_TIMEOUT_S)
            if status in ("paused", "running"):
                return
        self._forget(jail)
        self._write_config(jail)
        make_network(self._host, jail, self._home(jail))
        self._words.begin(f"{self._home(jail)}/{OUTPUT}")
        keep_output(self._host, self._home(jail), self._cgroup(jail).below("output").path)
        # The runtime closes what it inherits, so the running jail holds nothing of the engine's; the runtime itself
        # holds the lock, so that no other engine looks at a jail that is about to start.
        run = self._tool(jail, "run", "--detach", "--bundle", self._home(jail), jail.name)
        argv = into_output(self._home(jail), run)
        if self._log_bytes(jail) > _LOG_BYTES:
            self._host.remove(f"{self._home(jail)}/log")
        before = self._log_bytes(jail)
        completed = self._host.run(argv, check=False, timeout_s=jail.start_timeout_s)
        if completed.status != 0:
            cause = last_error(self._log_since(jail, before)) or f"{_runtime(jail)} ended with {completed.status}"
            self._forget(jail)
            raise DriverError(f"cannot start jail {jail.name}: {cause}", remedy=f"see {self._home(jail)}/log")

    def stop(self, jail: JailSpec) -> None:
        """Stop the jail. A process that has no handler for the stop signal does not feel it as the first one of a jail:
        it is killed after the timeout."""
        payload = self._payload(jail)
        if payload.is_populated():
            begun = self._clock.monotonic_ns()
            if self._tell(jail) and not self._ends(jail, min(_PAUSED_AFTER_S, jail.stop_timeout_s)):
                self._wake(jail)
                self._ends(jail, jail.stop_timeout_s - (self._clock.monotonic_ns() - begun) / 1e9)
        elif self._host.stat(self._state(jail)) is None:
            release_output(self._host, self._home(jail))
        self._forget(jail)

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command in the jail with the jail's environment and nothing else."""
        if self.state(jail) is not JailState.RUNNING:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        number = f"{self._home(jail)}/exec.pid"
        before, former = frozenset(self._payload(jail).processes()), self._told(number)
        inside = self._tool(jail, "exec", "--pid-file", number, jail.name, *argv)
        try:
            # What the command leaves running in the jail must not keep the engine's lock.
            completed = self._host.run(inside, check=False, timeout_s=timeout_s, holds_lock=False)
        except ToolTimedOut:
            self._kill_late(jail, before, self._told(number) - former)
            raise
        if completed.status != 0 and not self._payload(jail).is_populated():
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        return completed

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """The last lines that the jail has printed since it was started."""
        return self._words.of(f"{self._home(jail)}/{OUTPUT}")

    # --- what is left of a jail ---

    def _tell(self, jail: JailSpec) -> bool:
        """Send the stop signal; whether the jail was told. What cannot be told is killed.

        The runtime is asked to only where the jail has no process namespace of its own: it takes longer, and the jail
        is going down.
        """
        payload = self._payload(jail)
        with suppress(DriverError):
            first = first_in(payload)
            if first is not None:
                inside = payload.path.removeprefix(required_mount(self._host, jail.name))
                return self._host.signal(first, inside, jail.stop_signal)
            kill = self._tool(jail, "kill", jail.name, signal_word(jail.stop_signal))
            return self._host.run(kill, check=False, timeout_s=_ASK_TIMEOUT_S).status == 0
        return False

    def _ends(self, jail: JailSpec, timeout_s: float) -> bool:
        payload = self._payload(jail)
        return until(self._clock, lambda: not payload.is_populated(), timeout_s)

    def _wake(self, jail: JailSpec) -> None:
        """Let a paused jail go on: it feels the signal that it was sent only then."""
        with suppress(DriverError):
            if self._asked(jail)[0] == "paused":
                self._host.run(self._tool(jail, "resume", jail.name), check=False, timeout_s=_ASK_TIMEOUT_S)

    def _forget(self, jail: JailSpec) -> None:
        """Kill what lives of the jail and let the runtime forget it; whatever it knows here is ours."""
        payload = self._payload(jail)
        payload.kill(jail.name)
        if self._host.stat(self._state(jail)) is not None:
            delete = self._tool(jail, "delete", "--force", jail.name)
            completed = self._host.run(delete, check=False, timeout_s=_ASK_TIMEOUT_S)
            payload.kill(jail.name)
            # Killed while it began: there is a directory, but nothing in it that the runtime could read.
            if self._host.stat(self._state(jail)) is not None:
                self._clear(self._state(jail), completed)
        remove_network(self._host, jail, self._home(jail))

    def _clear(self, state: str, deleted: Completed) -> None:
        """Remove the files of a runtime that was killed, and the mount of itself that it may have left on one."""
        table = mounted(self._host)
        for name in self._host.entries(state):
            if topmost(table, f"{state}/{name}") is not None:
                self._host.run(["umount", "--", f"{state}/{name}"])
            found = self._host.stat(f"{state}/{name}")
            if found is not None and found.is_directory:
                raise DriverError(f"cannot forget {state}: {_said(deleted)}", remedy="remove that directory")
            self._host.remove(f"{state}/{name}")
        self._host.remove(state)

    def _kill_late(self, jail: JailSpec, before: frozenset[int], told: frozenset[int]) -> None:
        """Kill what a command has started that was not done in time; ``told`` is what the runtime told of it."""
        payload = self._payload(jail)
        found = origins(self._host, payload.processes())
        sessions = told | brought_in(found, before, self._asked(jail)[1])
        kill_sessions(self._host, payload.processes(), sessions)

    def _told(self, file: str) -> frozenset[int]:
        """The session of the command that the runtime has written down last, if any."""
        number = b"" if self._host.stat(file) is None else self._host.read(file).strip()
        return frozenset([int(number)]) if number.isdigit() else frozenset()

    # --- the bundle ---

    def _write_config(self, jail: JailSpec) -> None:
        """Written only when it changed: making a file durable takes longer than starting the jail."""
        path = f"{self._home(jail)}/config.json"
        content = self._rendered(jail).encode()
        if self._host.stat(path) is None or self._host.read(path) != content:
            self._host.make_directory(self._home(jail), 0o700)
            self._host.write(path, content)

    def _rendered(self, jail: JailSpec) -> str:
        settings = None
        if jail.settings is not None:
            require_trusted(self._host, jail.settings)
            settings = self._host.read(jail.settings)
        held = held_capabilities(self._host.read("/proc/self/status").decode())
        return rendered(jail, self._home(jail), held, settings, namespace_of(jail, self._home(jail)))

    # --- the runtime ---

    def _asked(self, jail: JailSpec) -> tuple[str, int | None]:
        """Status and first process as the runtime tells them; the status is empty for a jail that it does not know."""
        if self._host.stat(self._state(jail)) is None:
            return "", None
        completed = self._host.run(self._tool(jail, "state", jail.name), check=False, timeout_s=_ASK_TIMEOUT_S)
        if completed.status == 0:
            return parsed_state(completed.stdout)
        if any(words in completed.stderr.lower() for words in _UNKNOWN):
            return "", None
        raise DriverError(f"cannot ask for the state of jail {jail.name}: {_said(completed)}")

    def _tool(self, jail: JailSpec, *arguments: str) -> list[str]:
        home = self._home(jail)
        runtime = _runtime(jail)
        argv = [runtime, "--root", f"{home}/state", "--log", f"{home}/log", "--log-format", "json", *arguments]
        hybrid = PurePosixPath(runtime).name.startswith("crun") and cgroup_mount(self._host) == BESIDE
        return with_private_view(argv) if hybrid else argv  # crun refuses cgroup2 beside version 1

    def _log_bytes(self, jail: JailSpec) -> int:
        found = self._host.stat(f"{self._home(jail)}/log")
        return found.size_bytes if found else 0

    def _log_since(self, jail: JailSpec, before: int) -> str:
        if self._log_bytes(jail) <= before:
            return ""
        return self._host.read(f"{self._home(jail)}/log")[before:].decode(errors="replace")

    # --- places ---

    def _home(self, jail: JailSpec) -> str:
        return f"{self._directory}/{jail.name}"

    def _state(self, jail: JailSpec) -> str:
        return f"{self._home(jail)}/state/{jail.name}"

    def _cgroup(self, jail: JailSpec) -> Cgroup:
        mount = required_mount(self._host, jail.name)
        return Cgroup(self._host, self._clock, f"{mount}/{cgroup_of(self._home(jail))}")

    def _payload(self, jail: JailSpec) -> Cgroup:
        return self._cgroup(jail).below("payload")


def parsed_state(output: str) -> tuple[str, int | None]:
    """Status and process id from the JSON of ``state``. Raises DriverError for anything else."""
    try:
        found = json.loads(output)
        status, pid = str(found["status"]), found.get("pid")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriverError(f"cannot understand the state of a container: {output[:60]!r}") from error
    return status, pid if isinstance(pid, int) and pid > 0 else None


def last_error(log: str) -> str:
    """The last error in a runtime's JSON log; it names the causes of those before it. Empty if there is none."""
    for line in reversed(log.splitlines()):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
                return re.sub(r"^\w+ \w+ failed: ", "", str(entry.get("msg")))
    return ""


def held_capabilities(status: str) -> int:
    """The capabilities that this process may give to others, as a bit mask; see CapBnd in proc(5)."""
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(match[1], 16) if match else -1


def _runtime(jail: JailSpec) -> str:
    return jail.runtime or DEFAULT_RUNTIME


def _said(completed: Completed) -> str:
    return next((line.strip() for line in completed.stderr.splitlines() if line.strip()), "no reason given")
