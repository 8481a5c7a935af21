"""What is found out about the next root while the old one still serves."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.drivers.base import JailSpec, MountedVolume
from commands.drivers.host import LocalHost
from commands.drivers.loading import elf_interpreter
from commands.drivers.roots import MOUNT_POINTS, inspect_root, path_inside
from commands.errors import DriverError
from tests.contracts.jail_fixtures import tiny_root

HOST = LocalHost()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the command /usr/sbin/app, also found as /sbin/app, and a place for a volume at /var/log."""
    made = tmp_path / "root"
    for path in (*MOUNT_POINTS, "/usr/sbin", "/var/log"):
        (made / path.lstrip("/")).mkdir(parents=True)
    (made / "sbin").symlink_to("usr/sbin")
    app = made / "usr/sbin/app"
    app.write_text("#!/bin/sh\n")
    app.chmod(0o755)
    return made


def jail(command: str = "/usr/sbin/app", volume: str = "/var/log") -> JailSpec:
    volumes = (MountedVolume(name="log", source="/pool/log", path=volume),)
    return JailSpec(driver="lxc", name="web", root="/jails/web", command=(command, "-x"), volumes=volumes)


def test_a_good_root_is_passed(root: Path) -> None:
    inspect_root(HOST, str(root), jail())


@pytest.mark.parametrize("command", ["/sbin/app", "/usr/../sbin/./app", "//sbin//app", "/../../usr/sbin/app"])
def test_the_command_is_found_where_the_jail_will_find_it(root: Path, command: str) -> None:
    inspect_root(HOST, str(root), jail(command))


def test_an_absolute_symlink_is_followed_inside_the_root_only(root: Path) -> None:
    (root / "usr/sbin/alias").symlink_to("/sbin/app")
    inspect_root(HOST, str(root), jail("/usr/sbin/alias"))
    (root / "usr/sbin/outside").symlink_to("/bin/sh")
    assert Path("/bin/sh").exists()
    with pytest.raises(DriverError, match="its command /usr/sbin/outside is not there"):
        inspect_root(HOST, str(root), jail("/usr/sbin/outside"))
    (root / "usr/sbin/upwards").symlink_to("../" * 30 + "bin/sh")
    with pytest.raises(DriverError, match="its command /usr/sbin/upwards is not there"):
        inspect_root(HOST, str(root), jail("/usr/sbin/upwards"))


def test_symlinks_in_a_circle_come_to_an_end(root: Path) -> None:
    (root / "usr/sbin/a").symlink_to("b")
    (root / "usr/sbin/b").symlink_to("a")
    with pytest.raises(DriverError, match="circle"):
        inspect_root(HOST, str(root), jail("/usr/sbin/a"))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda app: app.unlink(), "is not there"),
        (lambda app: app.chmod(0o644), "is not executable"),
        (lambda app: (app.unlink(), app.mkdir()), "is not a file"),
    ],
)
def test_a_command_that_cannot_be_run_is_told(root: Path, spoil: Callable[[Path], object], cause: str) -> None:
    spoil(root / "usr/sbin/app")
    with pytest.raises(DriverError, match=f"cannot run jail web on {root}: its command /usr/sbin/app {cause}"):
        inspect_root(HOST, str(root), jail())


@pytest.mark.parametrize("path", [*MOUNT_POINTS, "/var/log"])
@pytest.mark.parametrize("what", ["missing", "file", "symlink"])
def test_a_place_to_mount_on_that_is_no_real_directory_is_told(root: Path, path: str, what: str) -> None:
    place = root / path.lstrip("/")
    place.rmdir()
    if what == "file":
        place.write_text("")
    elif what == "symlink":
        place.symlink_to("/etc")
    with pytest.raises(DriverError) as refused:
        inspect_root(HOST, str(root), jail())
    assert path in refused.value.message
    assert refused.value.remedy == f"make {path} a directory in the template"


def test_a_symlink_above_the_place_of_a_volume_is_told(root: Path) -> None:
    shutil.move(root / "var", root / "srv")
    (root / "var").symlink_to("srv")
    assert (root / "var/log").is_dir()
    with pytest.raises(DriverError, match="var is a symbolic link"):
        inspect_root(HOST, str(root), jail())


def test_a_path_is_resolved_as_chroot_would(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/link").symlink_to("/sbin/../etc/./missing/x")
    assert path_inside(HOST, str(root), "/etc/link") == f"{root}/usr/etc/missing/x"
    assert path_inside(HOST, str(root), "/") == str(root)


def test_the_loader_of_a_program_is_read_from_its_head() -> None:
    loader = elf_interpreter(Path("/bin/sh").read_bytes())
    assert loader is not None and Path(loader).exists() and "ld" in loader
    for other in (b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\2\1" + bytes(300), Path("/bin/sh").read_bytes()[:600]):
        assert elf_interpreter(other) is None


@pytest.mark.real
def test_a_command_that_lacks_a_library_is_told_before_it_is_needed(tmp_path: Path) -> None:
    made = tiny_root(tmp_path / "tiny", ("sh",))
    inspect_root(HOST, str(made), jail("/bin/sh", "/data"))
    libraries = list(made.rglob("libc.so.6"))
    assert libraries, "the root has no libc: this test tests nothing"
    (made / "elsewhere").mkdir()
    for library in libraries:
        library.rename(made / "elsewhere" / library.name)
    inspect_root(
        HOST,
        str(made),
        jail("/bin/sh", "/data").model_copy(update={"environment": (("LD_LIBRARY_PATH", "/elsewhere"),)}),
    )
    with pytest.raises(DriverError, match=r"/bin/sh cannot be loaded: libc\.so\.6: cannot open shared object file"):
        inspect_root(HOST, str(made), jail("/bin/sh", "/data"))
