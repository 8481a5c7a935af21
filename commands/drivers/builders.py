"""Builds and upgrades roots offline, so that nothing of it outlives the build or reaches outside of the root.

Every tool runs in a PID namespace of its own (nothing it starts survives it, however it ends) and in a mount namespace
of its own (what it mounts is gone with it). What runs *in* the root has all its paths looked up in there, behind
chroot: a root with hostile symlinks can only hurt itself.
"""

import re
from collections.abc import Callable

from commands.drivers.base import Host, Recipe
from commands.drivers.build_failures import build_failure
from commands.drivers.build_scripts import APT, INSIDE, PREPARE
from commands.drivers.trusted import require_trusted
from commands.errors import DriverError

#: Runs a command whose processes and mounts are all gone when it is over.
CONFINED = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private")
_TOOLS = {
    "debian": ("unshare", "mmdebstrap"),
    "tar": ("unshare", "tar"),
    "script": ("unshare",),
    "apt": ("unshare", "chroot"),
    "inside": ("unshare", "chroot"),
}
_FROM_FILE = ("tar", "script", "inside")
#: Linux takes no longer argument; the script of the method ``inside`` is passed as one.
_SCRIPT_BYTES = 128 * 1024 - 1
_MIRROR = "http://deb.debian.org/debian"

_APT_GET = "/usr/bin/apt-get"
#: What to do about a root without it.
NO_APT = (
    'give --script FILE to `rootswap template upgrade`, or set upgrade = "script" and upgrade_script; '
    "a new archive is taken by `rootswap template build --again`"
)

#: apt takes a name that ends in a dash as a package to remove.
_PACKAGE = re.compile(r"[a-z0-9](?:[a-z0-9+.-]*[a-z0-9+.])?(?::[a-z0-9-]+)?(?:[=/][A-Za-z0-9.+:~-]+)?")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]*")
_SOURCE = re.compile(r"deb(?:-src)? [ -~]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RootBuilder:
    """Follows recipes by mmdebstrap, by tar, by the root's own apt, or by the administrator's script."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def preflight(self, recipe: Recipe, base: str | None = None) -> None:
        """Whether the recipe is complete, its tools are installed, and nobody but root can change its file.

        An upgrade by apt is refused where the ``base`` has none.
        """
        check_recipe(recipe)
        if recipe.method == "apt" and base is not None and not has_apt(self._host, base):
            raise DriverError(f"cannot upgrade {base} by apt: there is no {_APT_GET} in it", remedy=NO_APT)
        for tool in _TOOLS[recipe.method]:
            self._host.run([tool, "--version"])
        if recipe.file is not None:
            require_trusted(self._host, recipe.file)

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """Follow the recipe in ``root``: an empty directory for debian, tar and script, else a copy of the base."""
        check_recipe(recipe)
        if recipe.file is not None:
            require_trusted(self._host, recipe.file)
            self._check_sum(recipe, recipe.file, cancelled)
        argv = self._argv(recipe, root)
        completed = self._host.run(argv, check=False, timeout_s=recipe.timeout_s, cancelled=cancelled)
        if completed.status != 0:
            raise build_failure(recipe, completed)

    def clear(self, root: str) -> None:
        """Nothing: what a build runs and mounts is in namespaces of its own, and gone with the build."""

    def packages(self, root: str) -> dict[str, str]:
        """What dpkg says is installed in the root; empty where there is no dpkg."""
        if self._host.stat(f"{root}/var/lib/dpkg/status") is None:
            return {}
        status = self._host.read(self._host.resolve_beneath(root, "var/lib/dpkg/status"))
        return parsed_dpkg_status(status.decode(errors="replace"))

    def _argv(self, recipe: Recipe, root: str) -> list[str]:
        file = recipe.file or ""
        match recipe.method:
            case "debian":
                return [*CONFINED, "--mount-proc", "mmdebstrap", *_mmdebstrap(recipe, root)]
            case "tar":
                # GNU tar itself refuses to leave the directory: names with .., and files through symlinks made before.
                keep = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--force-local"]
                return [*CONFINED, "--mount-proc", "tar", "-xp", *keep, "-C", root, "-f", file]
            case "script":
                return [*CONFINED, "--mount-proc", file, root]
            case "apt":
                sources = "".join(f"{line}\n" for line in recipe.sources)
                return self._inside(root, PREPARE + APT, sources, *recipe.packages)
            case "inside":
                return self._inside(root, PREPARE + INSIDE, checked_script(self._host, file))

    def _inside(self, root: str, script: str, *arguments: str) -> list[str]:
        """Run a constant script in the root, with name resolution as on the host."""
        names = [text_of(self._host, path) for path in ("/etc/resolv.conf", "/etc/hosts")]
        return [*CONFINED, "chroot", root, "/bin/sh", "-eu", "-c", script, "rootswap", *names, *arguments]

    def _check_sum(self, recipe: Recipe, path: str, cancelled: Callable[[], bool]) -> None:
        if recipe.sha256 is None:
            return
        printed = self._host.run(["sha256sum", "--", path], timeout_s=recipe.timeout_s, cancelled=cancelled).stdout
        # A name with a backslash in it is printed with one before the sum.
        has = printed.removeprefix("\\").split(" ", 1)[0]
        if has != recipe.sha256:
            raise DriverError(f"cannot use {path}: its SHA-256 is {has}, the recipe wants {recipe.sha256}")


def has_apt(host: Host, root: str) -> bool:
    """Whether a root can be upgraded by its own apt."""
    try:
        return host.stat(host.resolve_beneath(root, _APT_GET)) is not None
    except DriverError:  # something on the way is not there, or no directory
        return False


def text_of(host: Host, path: str) -> str:
    """A text file of the host as an argument; empty where there is none."""
    if host.stat(path, follow=True) is None:
        return ""
    return host.read(path).decode(errors="replace").replace("\0", "")


def checked_script(host: Host, path: str) -> str:
    """A script of the host as an argument. Raises DriverError for what cannot be one."""
    content = host.read(path)
    try:
        script = content.decode()
    except UnicodeDecodeError:
        script = "\0"
    if "\0" in script or len(content) > _SCRIPT_BYTES:
        remedy = "let a short script fetch or start the rest"
        raise DriverError(f"cannot run {path} inside a root: it is not a text of less than 128 KiB", remedy=remedy)
    return script


def check_recipe(recipe: Recipe) -> None:
    """Raise DriverError for a recipe that lacks something, or that a tool would take for something else."""
    if recipe.method == "debian" and not _SUITE.fullmatch(recipe.suite or ""):
        raise DriverError(f"cannot follow the recipe: {recipe.suite or 'nothing'} is not a suite")
    if recipe.method in _FROM_FILE and recipe.file is None:
        raise DriverError(f"cannot follow the recipe: the method {recipe.method} needs a file")
    for package in recipe.packages:
        if not _PACKAGE.fullmatch(package):
            raise DriverError(f"cannot follow the recipe: {package!r} is not a package")
    for line in recipe.sources:
        if not _SOURCE.fullmatch(line):
            remedy = "write it as in sources.list: deb URL SUITE COMPONENT"
            raise DriverError(f"cannot follow the recipe: {line!r} is not a package source", remedy=remedy)
    if recipe.sha256 is not None and not _SHA256.fullmatch(recipe.sha256):
        raise DriverError(f"cannot follow the recipe: {recipe.sha256!r} is not a SHA-256 in lower-case hexadecimal")


def parsed_dpkg_status(status: str) -> dict[str, str]:
    """Name and version of each installed package; a second architecture of a package is called NAME:ARCHITECTURE."""
    packages: dict[str, str] = {}
    for stanza in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version|Architecture): *(.*?) *$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields and "Version" in fields:
            name = fields["Package"]
            if name in packages:
                name = f"{name}:{fields.get('Architecture', '')}"
            packages[name] = fields["Version"]
    return packages


def _mmdebstrap(recipe: Recipe, root: str) -> list[str]:
    include = [f"--include={','.join(recipe.packages)}"] if recipe.packages else []
    suite = recipe.suite or ""
    sources = recipe.sources or (f"deb {_MIRROR} {suite} main",)
    return ["--mode=root", "--variant=minbase", "--format=directory", *include, suite, root, *sources]
