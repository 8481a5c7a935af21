"""LocalHost, natively: files and file systems."""

import os
import sys
from pathlib import Path

import pytest

from commands.drivers.host import LocalHost
from commands.errors import DriverError

PYTHON = sys.executable


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_at_once_with_exactly_its_mode(host: LocalHost, tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o077)
    try:
        host.write(str(path), b"one")
        assert path.stat().st_mode & 0o7777 == 0o600
        inode = path.stat().st_ino
        host.write(str(path), b"two", 0o644)
    finally:
        os.umask(before)
    assert host.read(str(path)) == b"two"
    assert path.stat().st_mode & 0o7777 == 0o644
    assert path.stat().st_ino != inode
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_engine_left_is_written_over_and_a_symlink_not_followed(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".file.new").symlink_to("precious")
    (tmp_path / "file").symlink_to("precious")
    host.write(str(tmp_path / "file"), b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["file", "precious"]
    assert (tmp_path / "file").read_text() == "new"


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DriverError, match=r"^cannot write .*/file: no space left$") as told:
        host.write(str(tmp_path / "file"), b"new")
    assert told.value.remedy
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_directories_are_made_with_their_parents_and_left_as_they_are(host: LocalHost, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        host.make_directory(str(tmp_path / "a/b"), 0o750)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b")] == [0o750, 0o750]
    (tmp_path / "a").chmod(0o711)
    host.make_directory(str(tmp_path / "a"), 0o700)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o711
    (tmp_path / "file").touch()
    with pytest.raises(DriverError, match="cannot make directory"):
        host.make_directory(str(tmp_path / "file"))


def test_files_symlinks_and_empty_directories_are_removed_and_full_ones_not(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to("full")
    with pytest.raises(DriverError, match="cannot remove"):
        host.remove(str(tmp_path / "full"))
    for name in ("link", "full/file", "full", "full", "full/file"):
        host.remove(str(tmp_path / name))
    assert os.listdir(tmp_path) == []


def test_a_rename_never_replaces(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with pytest.raises(DriverError, match="exists already"):
        host.rename(str(tmp_path / "one"), str(tmp_path / "two"))
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(DriverError, match="exists already"):
        host.rename(str(tmp_path / "one"), str(tmp_path / "dangling"))
    host.rename(str(tmp_path / "one"), str(tmp_path / "two/three"))
    assert (tmp_path / "two/three").is_dir()


def test_entries_are_sorted_and_none_where_there_is_no_directory(host: LocalHost, tmp_path: Path) -> None:
    for name in ("b", "a", "C"):
        (tmp_path / name).touch()
    assert host.entries(str(tmp_path)) == ("C", "a", "b")
    assert host.entries(str(tmp_path / "none")) == ()
    assert host.entries(str(tmp_path / "a")) == ()


def test_a_symlink_is_looked_at_and_through_only_if_told(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("four")
    (tmp_path / "file").chmod(0o4755)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    link, file = host.stat(str(tmp_path / "link")), host.stat(str(tmp_path / "link"), follow=True)
    assert link is not None and file is not None
    assert (link.is_symlink, link.is_file, link.is_directory) == (True, False, False)
    assert (file.is_symlink, file.is_file, file.is_directory) == (False, True, False)
    assert (file.size_bytes, file.mode, file.uid) == (4, 0o4755, os.getuid())
    assert host.stat(str(tmp_path / "dangling"), follow=True) is None
    assert host.stat(str(tmp_path / "none/below")) is None
    assert host.stat(str(tmp_path / "file/below")) is None


@pytest.mark.parametrize(
    "path", ["../outside", "in/../../outside", "..", "out/file", "loop", "in/absolute", "in/none", "in/file/x", "fifo"]
)
def test_no_path_leads_out_of_a_root_or_to_what_is_not_there(host: LocalHost, tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (root / "in/file").touch()
    (root / "out").symlink_to("../outside")
    (root / "in/absolute").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    with pytest.raises(DriverError, match="cannot resolve"):
        host.resolve_beneath(str(root), path)


@pytest.mark.parametrize("path", ["in/file", "/in/file", "//in/./file"])
def test_a_path_of_real_directories_is_resolved(host: LocalHost, tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").touch()
    assert host.resolve_beneath(str(tmp_path), path) == str(tmp_path / "in/file")
    assert host.resolve_beneath(str(tmp_path), "/") == str(tmp_path)


def test_free_space_and_sync_are_asked_of_the_file_system(host: LocalHost, tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert 0 <= host.free_bytes(str(tmp_path)) <= found.f_blocks * found.f_frsize
    host.sync(str(tmp_path))
    for ask in (host.free_bytes, host.sync, host.read):
        with pytest.raises(DriverError, match="no such file or directory"):
            ask(str(tmp_path / "none"))


def test_a_host_without_syncfs_syncs_everything(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(host, "_syncfs", None)
    monkeypatch.setattr("os.sync", lambda: synced.append("all"))
    host.sync(str(tmp_path))
    assert synced == ["all"]


def test_the_boot_id_stays_as_long_as_the_machine_is_up(host: LocalHost) -> None:
    assert host.boot_id() == LocalHost().boot_id() != ""
