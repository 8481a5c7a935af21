"""Jails as LXC containers, in a directory of their own so that the host's other containers are never met.

The runtime is asked through its tools, and the kernel through the jail's cgroup: a process of the jail that outlived
its LXC monitor is invisible to the tools, and must never share its volumes with a second start.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from commands.drivers.base import Completed, Host, JailSpec, JailState, Source
from commands.drivers.first_process import root_is
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.last_words import LastWords
from commands.drivers.lxc_config import rendered
from commands.drivers.netns import require_link
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError, ToolTimedOut
from ledger.clock import Clock, SystemClock

_TOOLS = ("lxc-start", "lxc-stop", "lxc-info", "lxc-attach")
#: Where cgroup2 is mounted: alone, or beside the controllers of version 1.
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_PAYLOAD = "lxc.payload."
_NOT_RUNNING = 2  # lxc-stop(1)
_POLL_S = 0.0005
_KILL_TIMEOUT_S = 10.0
_TIDY_TIMEOUT_S = 10.0

#: What LXC calls an error on a good start: a key that its build does not know, and having waited for the last stop.
_HARMLESS = ("get_config_unsupported_key", "lxc_abstract_unix_recv_fds_iov", "lxc_cmd_rsp_recv_fds")

_STATES = {
    "STOPPED": JailState.STOPPED,
    "STARTING": JailState.STARTING,
    "STOPPING": JailState.STOPPING,
    "ABORTING": JailState.STOPPING,
}


class LxcJails:
    """LXC containers whose configuration, log and console are in ``directory``/NAME.

    The administrator's own LXC settings are included last and may override anything. What the jail writes to
    ``/dev/console`` is kept in ``console.log``; its standard output goes nowhere.
    """

    def __init__(self, host: Host, directory: str, clock: Clock | None = None) -> None:
        self._host = host
        self._directory = directory
        self._clock = clock or SystemClock()
        self._words = LastWords(host)

    def preflight(self, jail: JailSpec) -> None:
        """Whether LXC is installed and can be told to run this jail, and its cgroups can be seen."""
        for tool in _TOOLS:
            self._host.run([tool, "--version"])
        if not jail.command or not jail.command[0].startswith("/"):
            raise DriverError(f"cannot run jail {jail.name}: its command is not an absolute path")
        if self._cgroups() is None:
            remedy = "mount cgroup2 at /sys/fs/cgroup, or at /sys/fs/cgroup/unified beside version 1"
            raise DriverError(f"cannot run jail {jail.name}: no cgroup2 file system is mounted", remedy=remedy)
        if jail.settings is not None:
            require_trusted(self._host, jail.settings)
        require_link(self._host, jail)
        rendered(jail, self._home(jail))

    def state(self, jail: JailSpec) -> JailState:
        """What LXC says; STOPPING while a process is left of a jail that LXC has forgotten."""
        state, _ = self._seen(jail)
        if state is JailState.STOPPED and self._lives(jail):
            return JailState.STOPPING
        return state

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """Whether the root of the jail's first process is ``source``."""
        state, pid = self._seen(jail)
        return state is JailState.RUNNING and pid is not None and root_is(self._host, pid, source)

    def start(self, jail: JailSpec) -> None:
        """Start the jail; returns when its command was executed. What is left of a crashed start is killed first."""
        if self._lives(jail) and self._survives(jail):
            return
        self._write_config(jail)
        if self._launch(jail) and not self._lives(jail):
            # That was still the jail of before: dead, but its monitor had not noticed when lxc-start asked it.
            self._seen(jail)
            self._launch(jail)

    def stop(self, jail: JailSpec) -> None:
        """Stop the jail. LXC may still tidy up after this returns; ``state`` and ``start`` wait for it.

        A process that has no handler for the stop signal does not feel it as the first one of a jail: it is killed
        after the timeout.
        """
        if not self._lives(jail):
            if self._seen(jail)[0] is not JailState.STOPPED:
                self._kill(jail)
            return
        # -W: tell the first process and return; its end is seen sooner in the cgroup than by waiting for lxc-stop.
        completed = self._host.run([*self._tool("lxc-stop", jail), "-W"], check=False)
        if completed.status not in (0, _NOT_RUNNING):
            raise DriverError(f"cannot stop jail {jail.name}: {first_line(completed.stderr)}")
        patience_s = jail.stop_timeout_s if completed.status == 0 else 0.0
        if not self._until(lambda: not self._lives(jail), patience_s):
            self._kill(jail)

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command in the jail with the jail's environment and nothing else."""
        attach = [*self._tool("lxc-attach", jail), "--clear-env", "--", *argv]
        # What the command leaves running in the jail must not keep the engine's lock.
        completed = self._host.run(attach, check=False, timeout_s=timeout_s, holds_lock=False)
        if completed.status != 0 and "Failed to get init pid" in completed.stderr:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        return completed

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """The last lines that the jail has written to its console since it was started."""
        return self._words.of(f"{self._home(jail)}/console.log")

    def _launch(self, jail: JailSpec) -> bool:
        """Run lxc-start; True if LXC says that the jail runs already. Raises DriverError with LXC's own reason."""
        log = f"{self._home(jail)}/log"
        before = self._host.stat(log)
        self._words.begin(f"{self._home(jail)}/console.log")
        # -d closes what it inherits, so the running jail holds nothing of the engine's.
        argv = [*self._tool("lxc-start", jail), "-d", "-o", log, "-l", "ERROR", "--", *jail.command]
        completed = self._host.run(argv, check=False, timeout_s=jail.start_timeout_s)
        if completed.status != 0:
            written = self._host.read(log)[before.size_bytes if before else 0 :] if self._host.stat(log) else b""
            cause = first_error(written.decode(errors="replace")) or f"lxc-start ended with status {completed.status}"
            raise DriverError(f"cannot start jail {jail.name}: {cause}", remedy=f"see {log}")
        return "already running" in completed.stderr

    def _write_config(self, jail: JailSpec) -> None:
        """Written only when it changed: making a file durable takes longer than starting the jail."""
        path = f"{self._home(jail)}/config"
        content = rendered(jail, self._home(jail)).encode()
        if self._host.stat(path) is None or self._host.read(path) != content:
            self._host.make_directory(self._home(jail), 0o700)
            self._host.write(path, content)

    def _survives(self, jail: JailSpec) -> bool:
        """Whether the living jail is one that LXC knows; if not, its processes are killed."""
        self._until(lambda: self._seen(jail)[0] is not JailState.STARTING, jail.start_timeout_s)
        if self._seen(jail)[0] is JailState.RUNNING:
            return True
        self._kill(jail)
        return False

    def _kill(self, jail: JailSpec) -> None:
        """Kill every process of the jail, by LXC if its monitor answers, else with the monitor by their cgroup."""
        with suppress(ToolTimedOut):
            self._host.run([*self._tool("lxc-stop", jail), "-k"], check=False, timeout_s=_KILL_TIMEOUT_S)
        if self._lives(jail) or self._seen(jail)[0] is not JailState.STOPPED:
            script = 'echo 1 > "$1/cgroup.kill"'
            self._host.run(["/bin/sh", "-c", script, "sh", f"{self._cgroups()}/{cgroup_of(self._home(jail))}"])
        if not self._until(lambda: not self._lives(jail), _KILL_TIMEOUT_S):
            remedy = "a process hangs in the kernel; see ps and the kernel log"
            raise DriverError(f"cannot stop jail {jail.name}: some of its processes cannot be killed", remedy=remedy)

    def _lives(self, jail: JailSpec) -> bool:
        """Whether any process of the jail is left, whatever LXC knows of it."""
        top = f"{self._cgroups()}/{cgroup_of(self._home(jail))}"
        groups = [name for name in self._host.entries(top) if name.startswith(_PAYLOAD)]
        return any(self._is_populated(f"{top}/{name}/cgroup.events") for name in groups)

    def _is_populated(self, events: str) -> bool:
        try:
            return b"populated 1" in self._host.read(events)
        except DriverError:
            if self._host.stat(events) is None:  # removed meanwhile
                return False
            raise

    def _seen(self, jail: JailSpec) -> tuple[JailState, int | None]:
        """State and first process as LXC tells them; for a dead jail, what it tells once its monitor has noticed.

        The monitor notices within a millisecond, unless a command that was run in the jail has lost its parent and
        waits to be reaped by the host's init. While it then tidies up, it lets lxc-info wait.
        """
        deadline = self._clock.monotonic_ns() + int(_TIDY_TIMEOUT_S * 1e9)
        while True:
            completed = self._host.run([*self._tool("lxc-info", jail), "-s", "-p"], check=False)
            if completed.status != 0 and "doesn't exist" not in completed.stdout + completed.stderr:
                if not self._lives(jail):  # A file of settings that LXC cannot read any more keeps no jail alive.
                    return JailState.STOPPED, None
                raise DriverError(f"cannot ask for the state of jail {jail.name}: {first_line(completed.stderr)}")
            state, pid = parsed_info(completed.stdout)
            if state is not JailState.RUNNING or self._lives(jail):
                return state, pid
            if self._clock.monotonic_ns() >= deadline:
                return JailState.STOPPING, None
            self._clock.sleep(_POLL_S)

    def _until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``holds``; False when the time is over."""
        deadline = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while not holds():
            if self._clock.monotonic_ns() >= deadline:
                return False
            self._clock.sleep(_POLL_S)
        return True

    def _cgroups(self) -> str | None:
        return next((path for path in _CGROUPS if self._host.stat(f"{path}/cgroup.controllers")), None)

    def _home(self, jail: JailSpec) -> str:
        return f"{self._directory}/{jail.name}"

    def _tool(self, tool: str, jail: JailSpec) -> list[str]:
        return [tool, "-n", jail.name, "-P", self._directory]


def parsed_info(output: str) -> tuple[JailState, int | None]:
    """State and process id from ``lxc-info -s -p``. FROZEN and THAWED jails count as running; no answer is STOPPED."""
    fields = dict(line.split(":", 1) for line in output.splitlines() if ":" in line)
    state = fields.get("State", "STOPPED").strip()
    pid = fields.get("PID", "").strip()
    return _STATES.get(state, JailState.RUNNING), int(pid) if pid.isdigit() else None


def first_error(log: str) -> str:
    """The first cause in an LXC log; those after it are consequences. Empty if there is none."""
    pattern = re.compile(r"\sERROR\s+\S+ - \S+:(?P<function>\w+):\d+ - (?P<cause>.*)")
    for match in filter(None, map(pattern.search, log.splitlines())):
        if match["function"] not in _HARMLESS:
            return match["cause"]
    return ""


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
