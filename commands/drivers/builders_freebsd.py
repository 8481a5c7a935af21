"""Builds and upgrades roots on FreeBSD: from a distribution set or by the administrator's script, both offline.

What runs *in* a root runs in a jail that exists for it alone and has no start of its own: whatever it leaves running
is killed with the jail, and its paths are looked up in the root. None of this has been run on a real FreeBSD as a
whole; each command in it has been.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from commands.drivers.base import Host, Recipe
from commands.drivers.build_failures import build_failure
from commands.drivers.build_scripts import INSIDE_FREEBSD
from commands.drivers.builders import check_recipe, checked_script, text_of
from commands.drivers.jls import listed_jails
from commands.drivers.mounts_freebsd import beneath, mounted
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError, ToolMissing

_HERE = ("tar", "script", "inside")
_USERLAND = re.compile(r'^USERLAND_VERSION="([^"]+)"', re.MULTILINE)


class FreeBsdBuilder:
    """Follows recipes by tar(1), by the administrator's script, or by a script inside the root."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def preflight(self, recipe: Recipe, base: str | None = None) -> None:
        """Whether the recipe is complete and one for FreeBSD, and nobody but root can change its file."""
        if recipe.method not in _HERE:
            remedy = 'use bootstrap = "tar" or "script", and upgrade = "script"'
            raise DriverError(f"cannot follow the recipe: the method {recipe.method} is Debian's", remedy=remedy)
        check_recipe(recipe)
        if recipe.file is not None:
            require_trusted(self._host, recipe.file)

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """Follow the recipe in ``root``: an empty directory for tar and script, else a copy of the base."""
        self.preflight(recipe)
        file = recipe.file or ""
        self._check_sum(recipe, file, cancelled)
        if recipe.method == "inside":
            self._inside(recipe, root, checked_script(self._host, file), cancelled)
            return
        # FreeBSD's tar itself refuses names with .. and to write through symlinks, unless it is given -P.
        argv = ["tar", "-xpf", file, "-C", root] if recipe.method == "tar" else [file, root]
        self._run(recipe, argv, cancelled)

    def packages(self, root: str) -> dict[str, str]:
        """The release of the base system, and what pkg(8) says is installed in the root."""
        found: dict[str, str] = {}
        with suppress(DriverError):
            version = self._host.read(self._host.resolve_beneath(root, "bin/freebsd-version")).decode(errors="replace")
            found.update(("FreeBSD", release) for release in _USERLAND.findall(version)[:1])
        if self._host.stat(f"{root}/var/db/pkg/local.sqlite") is None:
            return found
        with suppress(ToolMissing):
            listed = self._host.run(["pkg", "-r", root, "query", "%n\t%v"], check=False).stdout
            for name, _, installed in (line.partition("\t") for line in listed.splitlines()):
                found[name] = installed
        return found

    def clear(self, root: str) -> None:
        """End what a build has left running in ``root``, and unmount what it has left mounted there."""
        name = build_jail(root)
        if any(jail.name == name and not jail.dying for jail in listed_jails(self._host)):
            self._host.run(["jail", "-R", name])
        for mount in beneath(mounted(self._host), root):
            if (mount.path, mount.kind) == (f"{root}/dev", "devfs"):
                self._host.run(["umount", mount.path])

    def _inside(self, recipe: Recipe, root: str, script: str, cancelled: Callable[[], bool]) -> None:
        self.clear(root)
        name = build_jail(root)
        try:
            self._host.run(["mount", "-t", "devfs", "devfs", self._host.resolve_beneath(root, "dev")])
            network = ["ip4=inherit", "ip6=inherit"]
            self._host.run(["jail", "-c", f"name={name}", f"path={root}", f"host.hostname={name}", *network, "persist"])
            names = text_of(self._host, "/etc/resolv.conf")
            argv = ["jexec", name, "/bin/sh", "-eu", "-c", INSIDE_FREEBSD, "rootswap", names, script]
            self._run(recipe, argv, cancelled)
        finally:
            self.clear(root)

    def _run(self, recipe: Recipe, argv: list[str], cancelled: Callable[[], bool]) -> None:
        completed = self._host.run(argv, check=False, timeout_s=recipe.timeout_s, cancelled=cancelled)
        if completed.status != 0:
            raise build_failure(recipe, completed)

    def _check_sum(self, recipe: Recipe, path: str, cancelled: Callable[[], bool]) -> None:
        if recipe.sha256 is None:
            return
        has = self._host.run(["sha256", "-q", path], timeout_s=recipe.timeout_s, cancelled=cancelled).stdout.strip()
        if has != recipe.sha256:
            raise DriverError(f"cannot use {path}: its SHA-256 is {has}, the recipe wants {recipe.sha256}")


def build_jail(root: str) -> str:
    """The name of the jail in which a build runs in ``root``: the same each time, so that a later run can end it."""
    return f"rootswap-build-{sha256(root.encode()).hexdigest()[:8]}"
