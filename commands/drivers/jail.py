"""FreeBSD jails, by jail(8), jexec(8) and jls(8).

The configuration of a jail is the administrator's jail.conf, which is read and never written. Ours are the root that is
mounted at its ``path``, and its volumes: a nullfs each, mounted before the jail is created and unmounted, inside out,
after it is gone. Whether a jail runs is asked of the kernel each time, and the mount table is looked at as a whole: a
mount that is left in the root of a jail that does not run makes it half stopped.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath

from commands.drivers.base import Completed, Host, JailSpec, JailState, MountedVolume, Source
from commands.drivers.jail_conf import check_conf, conf_of, places_of
from commands.drivers.jls import ListedJail, listed_jails
from commands.drivers.last_words import LastWords
from commands.drivers.mounts_freebsd import Mount, beneath, is_of, mounted, topmost
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError, Foreign, ToolTimedOut
from ledger.clock import Clock, SystemClock

#: How long jail(8) may take beyond the stop timeout: it kills by itself after its own stop.timeout, then unmounts.
_GRACE_S = 5.0
#: How long the kernel may take to let go of what a killed process had open.
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.05
#: What jail(8) mounts by itself (mount.devfs, mount.fdescfs, mount.procfs), where, and leaves after a removal by force.
_KERNEL = {"dev": "devfs", "dev/fd": "fdescfs", "proc": "procfs"}

#: What jail(8) says when a jail that is dying keeps a number that jail.conf wants.
_IN_THE_WAY = re.compile(r"dying|already exists")

#: Runs a command with its output at the end of a file: a daemon that the jail leaves behind must not die of a closed
#: pipe when it next prints something.
_TO_FILE = 'log=$1; shift; exec "$@" >>"$log" 2>&1'


class FreeBsdJails:
    """Jails of jail.conf. What jail(8) and the jail's start print is kept in ``directory``/NAME.log."""

    def __init__(self, host: Host, directory: str, clock: Clock | None = None) -> None:
        self._host = host
        self._directory = directory
        self._clock = clock or SystemClock()
        self._words = LastWords(host)

    def preflight(self, jail: JailSpec) -> None:
        """Whether jail.conf defines this jail, on our root, with nothing that depends on it, and nobody else there."""
        if "." in jail.name or jail.name.isdigit():
            remedy = "choose a name without dots that is not a number: jail(8) takes them for children and jids"
            raise DriverError(f"cannot run jail {jail.name}: its name means something else to jail(8)", remedy=remedy)
        conf = self._conf(jail)
        if jail.settings is not None:
            require_trusted(self._host, jail.settings)
        check_conf(self._host, jail, conf)
        for volume in jail.volumes:
            _place(jail, volume)
        self._require_alone(jail)

    def state(self, jail: JailSpec) -> JailState:
        """What the kernel says, and the mount table: a jail without its volumes is half started or half stopped.

        STARTING is one that runs on its root without them, because somebody has started it by hand; STOPPING one that
        is gone, and something is still mounted in its root. A jail that is dying is gone: it has no process left, and
        another one can be made of the same name.
        """
        found = self._alive(jail)
        if found is None:
            return JailState.STOPPING if beneath(mounted(self._host), jail.root) else JailState.STOPPED
        if found.path == jail.root and not _has_volumes(jail, mounted(self._host)):
            return JailState.STARTING
        return JailState.RUNNING

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """Whether the jail runs on ``source``, mounted at its path and nothing over it, with all its volumes."""
        found = self._alive(jail)
        if found is None or found.path != jail.root:
            return False
        table = mounted(self._host)
        roots = [mount for mount in table if mount.path == jail.root]
        return len(roots) == 1 and is_of(roots[0], source) and _has_volumes(jail, table)

    def start(self, jail: JailSpec) -> None:
        """Mount the volumes and create the jail; returns when exec.start is over. A half started one is stopped first.

        If exec.start fails or times out, jail(8) removes the jail by itself. Raises Foreign when a jail of that name
        runs elsewhere, or another one on our root.
        """
        found = self._alive(jail)
        if found is not None and found.path != jail.root:
            remedy = f"stop it with `rootswap jail stop {jail.name}`"
            raise Foreign(f"cannot start jail {jail.name}: a jail of that name runs on {found.path}", remedy=remedy)
        if found is not None:
            if _has_volumes(jail, mounted(self._host)):
                return
            self._remove(jail)
        conf = self._conf(jail)
        layers = sum(mount.path == jail.root for mount in mounted(self._host))
        if layers != 1:
            cause = (
                f"nothing is mounted at {jail.root}" if layers == 0 else f"{layers} mounts are stacked at {jail.root}"
            )
            raise DriverError(f"cannot start jail {jail.name}: {cause}", remedy="see `mount` for what is there")
        self._clear(jail)
        self._require_alone(jail)
        for volume in _outer_first(jail):
            self._mount_volume(jail, volume)
        self._create(jail, conf)

    def stop(self, jail: JailSpec) -> None:
        """Remove the jail and unmount its volumes. How it stops is jail.conf's: exec.stop, SIGTERM, stop.timeout.

        If that takes longer than the stop timeout and five seconds, the jail is removed by force: its processes are
        killed and exec.stop and exec.poststop do not run. If exec.stop fails, jail(8) leaves the jail there: that is an
        error, and nothing is killed, for it is the administrator's way to say no.
        """
        if self._alive(jail) is not None:
            self._remove(jail)
        self._clear(jail)

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command in the jail, by jexec(8)."""
        if self._alive(jail) is None:
            raise DriverError(f"cannot run {argv[0]} in jail {jail.name}: it does not run")
        # What the command leaves running in the jail must not keep the engine's lock.
        return self._host.run(["jexec", jail.name, *argv], check=False, timeout_s=timeout_s, holds_lock=False)

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """The last lines that jail(8), exec.start and what that has left running have printed since the start."""
        return self._words.of(self._log(jail))

    # --- creating and removing ---

    def _create(self, jail: JailSpec, conf: str) -> None:
        """``jail -c``, once more if a jail that is dying was in the way. The reason for a failure is jail(8)'s own."""
        said = self._launch(jail, conf)
        if self._alive(jail) is None and _IN_THE_WAY.search(said) and self._dies(jail):
            self._until(lambda: not self._dies(jail), jail.start_timeout_s)
            said = self._launch(jail, conf)
        if self._alive(jail) is None:
            self._clear(jail)
            raise DriverError(f"cannot start jail {jail.name}: {said}", remedy=f"see {self._log(jail)} and {conf}")

    def _launch(self, jail: JailSpec, conf: str) -> str:
        """Run ``jail -c``; what it said was wrong, if the jail is not there then."""
        log = self._log(jail)
        self._host.make_directory(self._directory, 0o700)
        before = self._words.begin(log)
        # jail(8) closes every descriptor before it runs a command in a jail, so that nothing in there holds our lock.
        argv = ["/bin/sh", "-c", _TO_FILE, "sh", log, "jail", "-f", conf, "-c", jail.name]
        try:
            completed = self._host.run(argv, check=False, timeout_s=jail.start_timeout_s)
        except ToolTimedOut as error:
            cause = f"its exec.start is not done after {jail.start_timeout_s:g} s"
            remedy = "let it leave its programs in the background, or raise start_timeout_s"
            raise ToolTimedOut(f"cannot start jail {jail.name}: {cause}", remedy=remedy) from error
        printed = self._host.read(log)[before:] if self._host.stat(log) else b""
        said = jails_own_words(printed.decode(errors="replace"), jail.name)
        return said or f"jail(8) ended with status {completed.status}, and the jail is not there"

    def _remove(self, jail: JailSpec) -> None:
        conf = conf_of(self._host, jail)
        named = ["jail", *(["-f", conf] if conf else [])]
        try:
            argv = [*named, "-r", jail.name]
            completed = self._host.run(argv, check=False, timeout_s=jail.stop_timeout_s + _GRACE_S)
            said = completed.stderr or completed.stdout
        except ToolTimedOut:
            said = ""
            with suppress(ToolTimedOut):
                said = self._host.run([*named, "-R", jail.name], check=False, timeout_s=_KILL_TIMEOUT_S).stderr
        if self._alive(jail) is not None:
            cause = jails_own_words(said, jail.name) or "jail(8) has left it there"
            rest = "it runs on, perhaps without what its exec.stop had ended by then"
            remedy = f"look at it with `jexec {jail.name} ps ax`, and mend exec.stop"
            raise DriverError(f"cannot stop jail {jail.name}: {cause}; {rest}", remedy=remedy)

    # --- what is mounted in the root ---

    def _mount_volume(self, jail: JailSpec, volume: MountedVolume) -> None:
        self._host.resolve_beneath(jail.root, volume.path)
        self._host.resolve_beneath("/", volume.source)
        self._host.run(["mount", "-t", "nullfs", volume.source, _place(jail, volume)])

    def _clear(self, jail: JailSpec) -> None:
        """Unmount what is left in the root of a jail that does not run, inside out, even where the root itself is gone.

        Raises Foreign for a mount that is neither a volume's place nor one that jail(8) makes: what jail.conf mounts is
        left there when a jail was removed by force.
        """
        ours = {_place(jail, volume): "nullfs" for volume in jail.volumes}
        ours |= {f"{jail.root}/{place}": kind for place, kind in _KERNEL.items()}
        left = beneath(mounted(self._host), jail.root)
        if left:
            self._require_alone(jail)
        conf = conf_of(self._host, jail)
        is_strange = conf is not None and any(ours.get(mount.path) != mount.kind for mount in left)
        configured = places_of(self._host, jail, conf) if conf is not None and is_strange else frozenset()
        for mount in left:
            if ours.get(mount.path) != mount.kind and mount.path not in configured:
                remedy = f"unmount it with `umount {mount.path}`"
                raise Foreign(
                    f"cannot clear the root of jail {jail.name}: {mount.special} is mounted at {mount.path}, not by us",
                    remedy=remedy,
                )
            self._unmount(jail, mount)

    def _unmount(self, jail: JailSpec, mount: Mount) -> None:
        """Unmount what a killed process may have open for another moment."""
        if not self._until(lambda: self._host.run(["umount", mount.path], check=False).status == 0, _KILL_TIMEOUT_S):
            remedy = f"see `fstat -f {mount.path}`: a process that hangs in the kernel cannot be killed"
            raise DriverError(f"cannot stop jail {jail.name}: {mount.path} stays in use", remedy=remedy)

    # --- looks ---

    def _alive(self, jail: JailSpec) -> ListedJail | None:
        return next((one for one in listed_jails(self._host) if one.name == jail.name and not one.dying), None)

    def _dies(self, jail: JailSpec) -> bool:
        return any(one.name == jail.name and one.dying for one in listed_jails(self._host))

    def _require_alone(self, jail: JailSpec) -> None:
        for one in listed_jails(self._host):
            is_there = one.path == jail.root or one.path.startswith(f"{jail.root}/")
            if is_there and one.name != jail.name and not one.dying:
                remedy = f"stop it with `jail -r {one.name}`"
                raise Foreign(f"cannot run jail {jail.name}: jail {one.name} runs on {one.path}", remedy=remedy)

    def _conf(self, jail: JailSpec) -> str:
        conf = conf_of(self._host, jail)
        if conf is None:
            where = jail.settings or f"/etc/jail.conf or /etc/jail.conf.d/{jail.name}.conf"
            remedy = "write it; see docs/freebsd.md"
            raise DriverError(f"cannot run jail {jail.name}: there is no {where}", remedy=remedy)
        return conf

    def _log(self, jail: JailSpec) -> str:
        return f"{self._directory}/{jail.name}.log"

    def _until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``holds``; False when the time is over."""
        deadline = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while not holds():
            if self._clock.monotonic_ns() >= deadline:
                return False
            self._clock.sleep(_POLL_S)
        return True


def jails_own_words(printed: str, name: str) -> str:
    """The last of what jail(8) says is wrong, without the names that the sentence has already; empty if nothing."""
    said = [line for line in printed.splitlines() if line.startswith(("jail: ", "mount", "umount: "))]
    return said[-1].removeprefix("jail: ").removeprefix(f"{name}: ") if said else ""


def _has_volumes(jail: JailSpec, table: Sequence[Mount]) -> bool:
    """Whether every volume is mounted at its place."""
    tops = ((topmost(table, _place(jail, volume)), volume.source) for volume in jail.volumes)
    return all(top is not None and is_of(top, Source("bind", source)) for top, source in tops)


def _outer_first(jail: JailSpec) -> list[MountedVolume]:
    return sorted(jail.volumes, key=lambda volume: PurePosixPath(volume.path).parts)


def _place(jail: JailSpec, volume: MountedVolume) -> str:
    """Where a volume is mounted on the host. Raises DriverError for a place that is not inside of the root."""
    path = PurePosixPath(volume.path)
    if not path.is_absolute() or ".." in path.parts or path.parts[1:2] in ((), ("dev",), ("proc",)):
        remedy = "name a directory of the root, outside of /dev and /proc"
        raise DriverError(
            f"cannot mount a volume of jail {jail.name} at {volume.path}: no place for one", remedy=remedy
        )
    return str(PurePosixPath(jail.root, *path.parts[1:]))
