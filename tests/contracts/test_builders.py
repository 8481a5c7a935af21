"""Roots are built by real tools, and a hostile root or archive hurts nobody but itself."""

import hashlib
import io
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.drivers.base import Recipe
from commands.drivers.builders import RootBuilder
from commands.drivers.host import LocalHost
from commands.errors import DriverError, Interrupted, ToolTimedOut
from tests.contracts.jail_fixtures import tiny_root

pytestmark = pytest.mark.real

BUILDER = RootBuilder(LocalHost())
#: What the scripts of ``inside`` and ``apt`` need, as any Debian root has it.
PROGRAMS = (
    "sh",
    "mount",
    "umount",
    "mknod",
    "mkdir",
    "ln",
    "readlink",
    "chmod",
    "rm",
    "cat",
    "sleep",
    "setsid",
    "touch",
)


def never() -> bool:
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tiny_root(tmp_path / "root", PROGRAMS)
    (made / "etc").mkdir()
    (made / "usr/sbin").mkdir(parents=True)
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must be the same afterwards."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "file").write_text("untouched")
    yield made
    assert [path.name for path in made.iterdir()] == ["file"]
    assert (made / "file").read_text() == "untouched"


def script(directory: Path, text: str) -> str:
    path = directory / "script"
    path.write_text(f"#!/bin/sh -eu\n{text}\n")
    path.chmod(0o755)
    return str(path)


def inside(directory: Path, root: Path, text: str, **changes: float) -> None:
    recipe = Recipe.model_validate({"method": "inside", "file": script(directory, text), **changes})
    BUILDER.preflight(recipe)
    BUILDER.build(recipe, str(root), never)


def running(word: str) -> list[bytes]:
    """The command lines of the machine in which ``word`` is an argument."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in line:
            found.append(b" ".join(line))
    return found


def mounted_below(directory: Path) -> bool:
    return str(directory) in Path("/proc/self/mounts").read_text()


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# --- inside -----------------------------------------------------------------------------------------------------------


def test_a_script_runs_in_the_root_and_leaves_only_what_it_made(root: Path, tmp_path: Path) -> None:
    before = files(root)
    inside(tmp_path, root, "echo made >/data/made; : >/tmp/x; : >/run/x; : >/dev/null; cat /etc/hosts >/data/hosts")
    assert files(root) - before == {"data/made", "data/hosts"}
    assert (root / "data/hosts").read_text() == Path("/etc/hosts").read_text()
    assert not mounted_below(tmp_path)


def test_a_name_resolution_of_the_root_is_covered_and_comes_back(root: Path, tmp_path: Path) -> None:
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    (root / "etc/hosts").symlink_to("/run/of-another-system/hosts")
    before = files(root)
    inside(tmp_path, root, "cat /etc/resolv.conf >/data/seen; cat /etc/hosts >/data/hosts")
    assert (root / "data/seen").read_text() == Path("/etc/resolv.conf").read_text()
    assert (root / "data/hosts").read_text() == Path("/etc/hosts").read_text()
    assert (root / "etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    assert files(root) - before == {"data/seen", "data/hosts"}


@pytest.mark.parametrize("own", [None, "#!/bin/sh\nexit 0\n"])
def test_no_daemon_may_start_and_a_policy_of_the_root_is_left_alone(
    root: Path, tmp_path: Path, own: str | None
) -> None:
    policy = root / "usr/sbin/policy-rc.d"
    if own:
        policy.write_text(own)
        policy.chmod(0o755)
    inside(tmp_path, root, "if /usr/sbin/policy-rc.d nginx start; then exit 9; else echo $? >/data/said; fi")
    assert (root / "data/said").read_text() == "101\n"
    assert (policy.read_text() if policy.exists() else None) == own


def test_a_failure_is_told_in_the_last_words_of_the_script_and_what_covered_is_gone(root: Path, tmp_path: Path) -> None:
    before = files(root)
    with pytest.raises(DriverError, match=r"by inside: /\S+ ended with exit status 3: nothing works here$") as caught:
        inside(
            tmp_path,
            root,
            "n=0; while [ $n -lt 30 ]; do n=$((n + 1)); echo $n; done; "
            "printf 'rang \\a\\n'; echo nothing works here >&2; exit 3",
        )
    told = caught.value.remedy.splitlines()
    assert (told[0], len(told)) == ("it printed last:", 21)
    assert [line.strip() for line in told[-3:]] == ["30", "rang ?", "nothing works here"]
    assert files(root) == before


def test_nothing_that_was_started_survives(root: Path, tmp_path: Path) -> None:
    inside(tmp_path, root, "setsid sleep 7231 </dev/null >/dev/null 2>&1 & sleep 0.1")
    assert not running("7231")


def test_a_build_can_be_interrupted_and_has_a_timeout(root: Path, tmp_path: Path) -> None:
    recipe = Recipe(method="inside", file=script(tmp_path, "setsid sleep 7232 & sleep 7232"))
    started = time.monotonic()
    with pytest.raises(Interrupted):
        BUILDER.build(recipe, str(root), lambda: bool(running("7232")))
    with pytest.raises(ToolTimedOut):
        BUILDER.build(recipe.model_copy(update={"timeout_s": 0.5}), str(root), never)
    assert time.monotonic() - started < 10
    assert not running("7232")
    assert not mounted_below(tmp_path)


@pytest.mark.parametrize("place", ["etc/resolv.conf", "etc/hosts", "usr/sbin/policy-rc.d"])
@pytest.mark.parametrize("target", ["{outside}/file", "{outside}/new", "../../../../../../..{outside}/new"])
def test_a_symlink_that_leads_out_of_the_root_does_not(
    root: Path, tmp_path: Path, outside: Path, place: str, target: str
) -> None:
    (root / place).symlink_to(target.format(outside=outside))
    before = files(root)
    inside(tmp_path, root, "cat /etc/resolv.conf /etc/hosts >/data/seen")
    assert (root / "data/seen").read_text().endswith(Path("/etc/hosts").read_text())
    made = {path for path in files(root) - before if (root / path).is_file()}
    assert made == {"data/seen"}


@pytest.mark.parametrize("place", ["proc", "run", "dev", "tmp"])
def test_a_mount_point_that_leads_out_of_the_root_does_not(
    root: Path, tmp_path: Path, outside: Path, place: str
) -> None:
    (root / place).rmdir()
    (root / place).symlink_to(outside)
    with pytest.raises(DriverError, match="mount"):
        inside(tmp_path, root, "exit 0")
    assert not mounted_below(tmp_path)


def test_a_script_that_others_can_change_is_refused(root: Path, tmp_path: Path) -> None:
    path = Path(script(tmp_path, "exit 0"))
    for mode, owner in ((0o777, 0), (0o775, 0), (0o755, 65534)):
        path.chmod(mode)
        os.chown(path, owner, 0)
        for method in ("inside", "script"):
            recipe = Recipe.model_validate({"method": method, "file": str(path)})
            for act in (BUILDER.preflight, lambda recipe: BUILDER.build(recipe, str(root), never)):
                with pytest.raises(DriverError, match="others than root can change it"):
                    act(recipe)


# --- apt, with an apt-get that only notes what it is asked ------------------------------------------------------------


def with_apt(root: Path, status: int = 0, complaint: str = "") -> Path:
    for tool in ("apt-get", "dpkg"):
        path = root / "bin" / tool
        path.write_text(
            f'#!/bin/sh\necho "{tool} $*" >>/data/asked\ncat /etc/apt/sources.list >/data/sources\n'
            f"echo '{complaint}' >&2\n[ {tool} = dpkg ] || exit {status}\n"
        )
        path.chmod(0o755)
    (root / "etc/apt").mkdir(parents=True)
    (root / "var/lib/apt/lists").mkdir(parents=True)
    (root / "var/lib/apt/lists/index").write_text("")
    (root / "etc/apt/sources.list").write_text("deb http://old main\n")
    return root / "data"


def test_apt_upgrades_then_installs_then_cleans(root: Path) -> None:
    data = with_apt(root)
    BUILDER.build(Recipe(method="apt", packages=("nginx", "tzdata=2026a")), str(root), never)
    asked = (data / "asked").read_text().splitlines()
    verbs = ["dpkg --configure -a", "update", "dist-upgrade", "install -- nginx tzdata=2026a", "clean"]
    assert all(line.endswith(verb) for line, verb in zip(asked, verbs, strict=True))
    assert "--force-confold" in asked[2] and "sourceparts" not in asked[2]
    assert (data / "sources").read_text() == "deb http://old main\n"
    assert not list((root / "var/lib/apt/lists").iterdir())


def test_the_sources_of_the_recipe_are_all_that_counts(root: Path) -> None:
    data = with_apt(root)
    sources = ("deb http://new/$(id) a main", "deb [trusted=yes] http://new b main; rm -rf /data")
    BUILDER.build(Recipe(method="apt", sources=sources), str(root), never)
    assert (data / "sources").read_text() == "".join(f"{line}\n" for line in sources)
    assert "-oDir::Etc::sourceparts=-" in (data / "asked").read_text()


def test_sources_behind_a_symlink_are_not_written_outside(root: Path, outside: Path) -> None:
    with_apt(root)
    (root / "etc/apt/sources.list").unlink()
    (root / "etc/apt/sources.list").symlink_to(outside / "file")
    with pytest.raises(DriverError, match=r"cannot create /etc/apt/sources\.list"):
        BUILDER.build(Recipe(method="apt", sources=("deb http://new a main",)), str(root), never)


def test_a_failure_of_apt_is_told_in_its_own_errors(root: Path) -> None:
    with_apt(root, status=100, complaint="W: much else\nE: Unable to locate package x\nW: and more")
    with pytest.raises(DriverError, match=r"by apt: exit status 100: E: Unable to locate package x$"):
        BUILDER.build(Recipe(method="apt"), str(root), never)


# --- script -----------------------------------------------------------------------------------------------------------


def test_a_script_of_the_host_is_given_the_root(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    text = '[ "$#" = 1 ]; echo "$1" >"$1/seen"; setsid sleep 7233 </dev/null >/dev/null 2>&1 &'
    recipe = Recipe(method="script", file=script(tmp_path, text))
    BUILDER.preflight(recipe)
    BUILDER.build(recipe, str(made), never)
    assert (made / "seen").read_text() == f"{made}\n"
    assert not running("7233")


# --- tar --------------------------------------------------------------------------------------------------------------


def archive(directory: Path, *members: tuple[str, str, str]) -> Path:
    """A tar file of (name, type, content or target)."""
    path = directory / "root.tar"
    kinds = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "link": tarfile.LNKTYPE}
    with tarfile.open(path, "w") as made:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = kinds[kind], 0o751, 4321, 1234
            body = content.encode() if kind == "file" else b""
            member.size, member.linkname = len(body), "" if kind == "file" else content
            made.addfile(member, io.BytesIO(body))
    return path


def unpack(path: Path, root: Path, sha256: str | None = None) -> None:
    recipe = Recipe(method="tar", file=str(path), sha256=sha256)
    BUILDER.preflight(recipe)
    BUILDER.build(recipe, str(root), never)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    made = tmp_path / "empty"
    made.mkdir()
    return made


def test_an_archive_is_unpacked_with_owners_modes_and_attributes(tmp_path: Path, empty: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    os.chown(source / "file", 4321, 1234)
    (source / "file").chmod(0o4751)
    capability = bytes.fromhex("0100000202040000000000000000000000000000")  # cap_net_bind_service, cap_...=ep
    os.setxattr(source / "file", "security.capability", capability)
    LocalHost().run(["tar", "-cz", "--xattrs", "-f", str(tmp_path / "a:b.tgz"), "-C", str(source), "."])
    unpack(tmp_path / "a:b.tgz", empty)
    found = (empty / "file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (4321, 1234, 0o4751)
    assert os.getxattr(empty / "file", "security.capability") == capability


def test_an_archive_with_another_sum_is_not_unpacked(tmp_path: Path, empty: Path) -> None:
    path = archive(tmp_path, ("file", "file", "content"))
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DriverError, match=f"its SHA-256 is {right}, the recipe wants {'0' * 64}"):
        unpack(path, empty, "0" * 64)
    assert not list(empty.iterdir())
    unpack(path, empty, right)
    assert (empty / "file").read_text() == "content"


def hostile(outside: Path) -> dict[str, list[tuple[str, str, str]]]:
    up = "../" * 20 + str(outside).lstrip("/")
    return {
        "a name with ..": [(f"{up}/new", "file", "evil")],
        "an absolute name": [(f"{outside}/new", "file", "evil")],
        "a file through an absolute symlink": [("a", "symlink", str(outside)), ("a/new", "file", "evil")],
        "a file through a symlink with ..": [("a", "symlink", up), ("a/new", "file", "evil")],
        "a file through two symlinks": [
            ("a", "symlink", "."), ("a/b", "symlink", str(outside)), ("b/new", "file", "evil"),
        ],
        "a file over a symlink": [("a", "symlink", f"{outside}/file"), ("a", "file", "evil")],
        "a file over a hard link": [("a", "link", f"{outside}/file"), ("a", "file", "evil")],
        "a hard link with ..": [("a", "link", f"{up}/file"), ("a", "file", "evil")],
        "a directory over a symlink": [
            ("a", "symlink", str(outside)), ("a", "directory", ""), ("a/new", "file", "evil"),
        ],
    }  # fmt: skip


@pytest.mark.parametrize("which", list(hostile(Path("/"))))
def test_a_hostile_archive_writes_nothing_outside(tmp_path: Path, empty: Path, outside: Path, which: str) -> None:
    before = (outside.stat(), (outside / "file").stat())
    path = archive(tmp_path, ("good", "file", "content"), *hostile(outside)[which])
    try:
        unpack(path, empty)
    except DriverError as error:
        assert "cannot build the root by tar" in error.message
    assert (empty / "good").read_text() == "content"
    after = (outside.stat(), (outside / "file").stat())
    for left, right in zip(before, after, strict=True):
        assert (left.st_uid, left.st_mode, left.st_nlink) == (right.st_uid, right.st_mode, right.st_nlink)


# --- debian, and apt for real -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real root with nginx as it was when bookworm came out, without the security updates."""
    try:
        socket.create_connection(("deb.debian.org", 80), timeout=5).close()
    except OSError:
        pytest.skip("no way to deb.debian.org")
    made = tmp_path_factory.mktemp("bookworm") / "root"
    made.mkdir()
    recipe = Recipe(method="debian", suite="bookworm", packages=("nginx-light",))
    BUILDER.preflight(recipe)
    BUILDER.build(recipe, str(made), never)
    return made


def test_debian_is_bootstrapped_and_then_upgraded_by_its_own_apt(bookworm: Path) -> None:
    assert (bookworm / "usr/sbin/nginx").exists()
    before = BUILDER.packages(str(bookworm))
    assert {"nginx-light", "dpkg", "apt"} <= set(before)
    mirror = "deb http://deb.debian.org/debian"
    sources = (
        f"{mirror} bookworm main", f"{mirror} bookworm-updates main", f"{mirror}-security bookworm-security main",
    )  # fmt: skip
    leftovers = {"run": os.listdir(bookworm / "run"), "tmp": os.listdir(bookworm / "tmp")}
    BUILDER.build(Recipe(method="apt", sources=sources), str(bookworm), never)
    after = BUILDER.packages(str(bookworm))
    assert set(after) >= set(before)
    assert after["nginx-light"] != before["nginx-light"]
    assert not (bookworm / "usr/sbin/policy-rc.d").exists()
    assert {name: os.listdir(bookworm / name) for name in leftovers} == leftovers
    assert (bookworm / "etc/apt/sources.list").read_text().splitlines() == list(sources)
    assert not mounted_below(bookworm)
