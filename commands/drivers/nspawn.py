"""Jails under systemd-nspawn, with a systemd that runs the host or without one.

Nothing of a jail is remembered: its cgroup holds nspawn itself (``supervisor``) and the jail's processes (``payload``),
and the kernel is asked what is in there. Where systemd runs, the jail is a transient service of it. Elsewhere nspawn is
started in a cgroup that was made for this very start, as follows, so that at no moment a start can be under way unseen.

The engine makes the cgroup while it holds the lock. What is then started holds nothing of the engine's, and first of
all moves into that cgroup. From when it was made, the jail counts as starting; to take the start back is to remove the
cgroup, after which the move fails. A cgroup does not survive a reboot, and so cannot be stale.
"""

from collections.abc import Sequence

from commands.drivers.base import Completed, Host, JailSpec, JailState, Source
from commands.drivers.cgroups import BESIDE, POLL_S, Cgroup, required_mount, until, with_private_view
from commands.drivers.first_process import field, first_in, root_is
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.kept_output import OUTPUT, keep_output, kept_bytes, kept_since, output_pipe, release_output
from commands.drivers.last_words import LastWords
from commands.drivers.netns import make_network, namespace_of, remove_network, require_link, require_network_tools
from commands.drivers.nspawn_command import enter_command, machine_of, start_command, unit_command
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError
from ledger.clock import Clock, SystemClock

_TOOLS = ("systemd-nspawn", "nsenter", "setpriv", "unshare")
_SYSTEMD = "/run/systemd/system"
_CHROOTS = ("/usr/sbin/chroot", "/usr/bin/chroot", "/sbin/chroot", "/bin/chroot")
_TIDY_TIMEOUT_S = 10.0
#: What nspawn says where /run is no tmpfs: nothing is wrong with the jail.
_TIDYING = ("Attempted to remove disk file system under ",)
#: nspawn takes a quarter of a second to start: it needs the processor more than we do.
_START_POLL_S = 0.008
#: How long the last words of an nspawn that gave up are waited for: they go through a pipe.
_WORDS_TIMEOUT_S = 1.0

#: Removes the cgroup. Mostly there are no others in it than those that nspawn makes.
_REMOVE = """\
[ ! -d "$1" ] || rmdir "$1/payload" "$1/supervisor" "$1" 2>/dev/null || [ ! -d "$1" ] ||
    find "$1" -depth -type d -exec rmdir {} +
"""
_LAUNCH = 'echo 0 >"$1/cgroup.procs" || exit 3; pipe=$2; shift 2; "$@" </dev/null >"$pipe" 2>&1 &'


class NspawnJails:
    """Jails under systemd-nspawn, whose output is in ``directory``/NAME, or in the journal where systemd runs.

    The administrator's settings are options of nspawn, one on each line.
    """

    def __init__(self, host: Host, directory: str, clock: Clock | None = None) -> None:
        self._host = host
        self._directory = directory
        self._clock = clock or SystemClock()
        self._words = LastWords(host)

    def preflight(self, jail: JailSpec) -> None:
        """Whether nspawn is installed and can be told to run this jail, and its cgroups can be seen."""
        for tool in (*_TOOLS, *(("systemd-run",) if self._has_systemd() else ())):
            self._host.run([tool, "--version"])
        require_network_tools(self._host, jail)
        require_link(self._host, jail)
        if not jail.command or not jail.command[0].startswith("/"):
            raise DriverError(f"cannot run jail {jail.name}: its command is not an absolute path")
        required_mount(self._host, jail.name)
        self._command(jail)

    def state(self, jail: JailSpec) -> JailState:
        """What the kernel shows; for a dead jail, once nspawn has tidied up."""
        return self._seen(jail)[0]

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """Whether the jail's first process has ``source`` as its root."""
        _, first = self._seen(jail)
        return first is not None and root_is(self._host, first, source)

    def start(self, jail: JailSpec) -> None:
        """Start the jail; returns when its command was executed. What is left of a crashed start is killed first."""
        group = self._group(jail)
        if group.is_populated() and self._survives(jail):
            return
        group.kill(jail.name)
        before = self._words.begin(f"{self._home(jail)}/{OUTPUT}")
        command = self._command(jail)
        self._host.make_directory(self._home(jail), 0o700)
        make_network(self._host, jail, self._home(jail))
        if self._has_systemd():
            # systemd may not have noticed yet that the service has ended; not loaded is a status we do not look at.
            self._host.run(["systemctl", "stop", "--", self._unit(jail)], check=False)
            self._host.run(unit_command(self._unit(jail), f"jail {jail.name}", command))
        else:
            self._launch(jail, group, command)
        begun = until(self._clock, lambda: self._is_settled(jail, group), jail.start_timeout_s, _START_POLL_S)
        if self._seen(jail)[0] is not JailState.RUNNING:
            cause = self._last_words(jail, before) if begun else f"not done after {jail.start_timeout_s:g} s"
            self._remove(jail)
            raise DriverError(f"cannot start jail {jail.name}: {cause}", remedy=self._where_to_look(jail))

    def stop(self, jail: JailSpec) -> None:
        """Stop the jail. nspawn may still tidy up after this returns; ``state`` and ``start`` wait for it.

        A process that has no handler for the stop signal does not feel it as the first one of a jail: it is killed
        after the timeout.
        """
        group = self._group(jail)
        payload = group.below("payload")
        first = self._first(group)
        if first is not None and self._tell(jail, payload, first):
            until(self._clock, lambda: not payload.is_populated(), jail.stop_timeout_s)
        if payload.is_populated() or not payload.is_there():
            self._remove(jail)
        remove_network(self._host, jail, self._home(jail))

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command in the jail with the jail's environment and nothing else, and no more capabilities."""
        _, first = self._seen(jail)
        if first is None:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        cgroup = f"{self._mount(jail)}{field(self._host, f'/proc/{first}/cgroup', r'^0::(/.*)$')}"
        kept = int(field(self._host, f"/proc/{first}/status", r"^CapBnd:\s*([0-9a-f]+)$") or "0", 16)
        chroot = next((path for path in _CHROOTS if self._host.stat(path, follow=True)), "chroot")
        # What the command leaves running in the jail must not keep the engine's lock.
        command = enter_command(jail, cgroup, first, kept, chroot, argv)
        completed = self._host.run(command, check=False, timeout_s=timeout_s, holds_lock=False)
        if completed.status != 0 and self._first(self._group(jail)) != first:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        return completed

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """The last lines that the jail has printed since it was started; none where they are in the journal."""
        return self._words.of(f"{self._home(jail)}/{OUTPUT}", _TIDYING)

    # --- starting and stopping ---

    def _launch(self, jail: JailSpec, group: Cgroup, command: Sequence[str]) -> None:
        """Start nspawn where no systemd does it. The cgroup is the start's, and nobody else's."""
        home = self._home(jail)
        self._announce(group)
        argv = with_private_view(command) if self._mount(jail) == BESIDE else command
        launch = ["/bin/sh", "-c", _LAUNCH, "sh", group.path, output_pipe(home), *argv]
        match keep_output(self._host, home, f"{self._mount(jail)}/{cgroup_of(home)}/output", launch):
            case 0:
                pass
            case 3:
                self._remove(jail)
                raise DriverError(f"cannot start jail {jail.name}: somebody has taken the start back")
            case _:
                raise DriverError(f"cannot start jail {jail.name}: its output cannot be kept in {home}")

    def _announce(self, group: Cgroup) -> None:
        """Make the cgroup as it is before a start: there, with none of those that nspawn makes in it."""
        try:
            for name in ("payload", "supervisor"):  # no program is started for this: the jail is down
                self._host.remove(f"{group.path}/{name}")
        except DriverError:  # what was in the jail has made groups of its own
            self._host.run(["/bin/sh", "-c", _REMOVE, "sh", group.path])
        self._host.make_directory(group.path)

    def _survives(self, jail: JailSpec) -> bool:
        """Whether what lives of the jail is or becomes a running jail."""
        until(self._clock, lambda: self._seen(jail)[0] is not JailState.STARTING, jail.start_timeout_s)
        return self._seen(jail)[0] is JailState.RUNNING

    def _is_settled(self, jail: JailSpec, group: Cgroup) -> bool:
        """Whether a start has come to its end, good or bad."""
        return self._first(group) is not None or not group.is_populated()

    def _tell(self, jail: JailSpec, payload: Cgroup, first: int) -> bool:
        """Send the stop signal to the first process; whether it was told."""
        return self._host.signal(first, payload.path.removeprefix(self._mount(jail)), jail.stop_signal)

    def _remove(self, jail: JailSpec) -> None:
        """Kill what lives of the jail, and take back a start that has not begun. A jail that has ended leaves its
        empty cgroup: by it one knows that it had begun."""
        group = self._group(jail)
        for _ in range(3):  # between the two, what was launched may move in
            group.kill(jail.name)
            if self._has_systemd() or not group.is_there():
                break
            removed = self._host.run(["/bin/sh", "-c", _REMOVE, "sh", group.path], check=False)
            if removed.status == 0:
                break
        if not self._has_systemd():
            release_output(self._host, self._home(jail))
        remove_network(self._host, jail, self._home(jail))

    # --- looking ---

    def _seen(self, jail: JailSpec) -> tuple[JailState, int | None]:
        """State and first process. While nspawn tidies up after a dead jail, it is waited for."""
        group = self._group(jail)
        payload = group.below("payload")
        deadline = self._clock.monotonic_ns() + int(_TIDY_TIMEOUT_S * 1e9)
        while group.is_populated():
            first = self._first(group)
            if first is not None:
                return JailState.RUNNING, first
            if payload.is_populated():
                return (JailState.STARTING if self._supervisor(group) else JailState.STOPPING), None
            if not payload.is_there():
                return JailState.STARTING, None
            if self._clock.monotonic_ns() >= deadline:
                return JailState.STOPPING, None
            self._clock.sleep(POLL_S)
        announced = not self._has_systemd() and group.is_there() and not payload.is_there()
        return (JailState.STARTING if announced else JailState.STOPPED), None

    def _first(self, group: Cgroup) -> int | None:
        """Process 1 of the jail, once it has executed its command; None without an nspawn that watches over it."""
        supervisor = self._supervisor(group)
        if supervisor is None:
            return None
        first = first_in(group.below("payload"))
        if first is None:
            return None
        nspawn = self._host.stat(f"/proc/{supervisor}/exe", follow=True)
        program = self._host.stat(f"/proc/{first}/exe", follow=True)
        is_command = nspawn and program and (program.device, program.inode) != (nspawn.device, nspawn.inode)
        return first if is_command else None

    def _supervisor(self, group: Cgroup) -> int | None:
        return next(iter(group.below("supervisor").own_processes()), None)

    def _last_words(self, jail: JailSpec, before: int) -> str:
        until(self._clock, lambda: kept_bytes(self._host, self._home(jail)) > before, _WORDS_TIMEOUT_S)
        lines = kept_since(self._host, self._home(jail), before).splitlines()
        return next((line.strip() for line in lines if line.strip()), "it ended at once")

    def _where_to_look(self, jail: JailSpec) -> str:
        return f"see `journalctl -u {self._unit(jail)}`" if self._has_systemd() else f"see {self._home(jail)}/output"

    # --- places ---

    def _command(self, jail: JailSpec) -> list[str]:
        settings = ""
        if jail.settings is not None:
            require_trusted(self._host, jail.settings)
            settings = self._host.read(jail.settings).decode(errors="replace")
        return start_command(jail, self._home(jail), settings, namespace_of(jail, self._home(jail)))

    def _has_systemd(self) -> bool:
        """Whether systemd runs the host, see sd_booted(3)."""
        return self._host.stat(_SYSTEMD) is not None

    def _unit(self, jail: JailSpec) -> str:
        return f"rootswap-{machine_of(jail, self._home(jail))}.service"

    def _group(self, jail: JailSpec) -> Cgroup:
        inside = (
            f"rootswap.slice/{self._unit(jail)}" if self._has_systemd() else f"{cgroup_of(self._home(jail))}/launch"
        )
        return Cgroup(self._host, self._clock, f"{self._mount(jail)}/{inside}")

    def _mount(self, jail: JailSpec) -> str:
        return required_mount(self._host, jail.name)

    def _home(self, jail: JailSpec) -> str:
        return f"{self._directory}/{jail.name}"
