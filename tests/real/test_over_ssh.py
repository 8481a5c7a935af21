"""Whole transactions on another host: ledger and engine here, the jail behind a real sshd in a namespace of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands.config.shapes import HostConfig
from ledger.reader import LedgerReader
from tests.contracts.ssh_server import SshServer, ssh_server
from tests.real.site import BUSYBOX, RealSite

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
ENTRY = "import sys; from commands.cli import main; sys.exit(main())"
STEPS = ("stop_jail", "remount_root", "start_jail")


class Box:
    """An admin machine with a ledger, and a host without rootswap at the other end of ssh."""

    def __init__(self, site: RealSite, server: SshServer) -> None:
        self.site = site
        self.server = server
        host = HostConfig(ssh="box", ssh_config=str(server.directory / "config"), patience_s=3)
        site.config = site.config.model_copy(update={"host": host})
        self.config = site.write_config()
        self.cuts: list[int] = []

    def run(self, *words: str) -> tuple[int, Any, str]:
        """A command line on the admin machine: exit code, envelope, stderr."""
        argv = [sys.executable, "-c", ENTRY, "--config", str(self.config), *words, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=False, stdin=subprocess.DEVNULL)
        return done.returncode, json.loads(done.stdout), done.stderr

    def done(self, *words: str) -> Any:
        """The same, which has to succeed."""
        code, envelope, told = self.run(*words)
        assert code == 0, f"{envelope}{told}"
        return envelope["data"]

    def page(self) -> str:
        """What the jail serves on its host."""
        ask = [BUSYBOX, "wget", "-qO-", f"http://127.0.0.1:{self.site.ports['web']}/"]
        return self.there(*ask).strip()

    def there(self, *argv: str) -> str:
        """What a command prints on the host, in the mount table that its sshd has."""
        return subprocess.run(self.server.inside(*argv), check=True, capture_output=True, text=True).stdout

    def mounts(self) -> list[str]:
        """Where something is mounted on the host that is ours."""
        lines = self.there("cat", "/proc/self/mountinfo").splitlines()
        return sorted(line.split()[4] for line in lines if str(self.site.directory) in line)

    def when(self, step: str, then: str) -> threading.Thread:
        """Do something to the connection once the ledger says that a step of the next transaction has begun."""
        ledger = Path(self.site.config.ledger_directory)
        with LedgerReader.open(ledger) as reader:
            last = reader.last_seq()

        def wait() -> None:
            deadline = time.monotonic() + 30
            with LedgerReader.open(ledger) as reader:
                while time.monotonic() < deadline:
                    for record in reader.records(after=last):
                        if record.type == "step.started" and getattr(record.event, "kind", None) == step:
                            if then == "stop":
                                self.server.stop()
                            self.cuts.append(self.server.cut())
                            return
                    time.sleep(0.002)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """The jail ``web`` on the host, on the first of two releases."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("lxc-start", "nsenter", BUSYBOX))):
        pytest.skip("needs root, LXC, nsenter and a static busybox")
    directory = Path(tempfile.mkdtemp(prefix="rootswap-real-", dir="/var/tmp"))
    for name in ("ssh", "site"):
        (directory / name).mkdir()
    try:
        with ssh_server(directory / "ssh") as server:
            box = Box(RealSite(directory / "site", storage="directory"), server)
            for words in (["init"], ["template", "build", "tiny"], ["upgrade", "web"], ["template", "upgrade", "tiny"]):
                box.done(*words)
            yield box
            box.done("jail", "stop", "web")
    finally:
        shutil.rmtree(directory)


def test_an_upgrade_serves_the_new_release_there_and_a_rollback_the_old_one(box: Box) -> None:
    assert box.page() == "one"
    before = box.mounts()
    assert str(box.site.directory) not in Path("/proc/self/mountinfo").read_text()
    (upgraded,) = box.done("upgrade", "web", "--reason", "from afar")["transactions"]
    assert (upgraded["state"], box.page()) == ("committed", "two")
    (status,) = box.done("status")["jails"]
    assert (status["state"], status["mismatch"]) == ("running", None)
    box.done("rollback", "web")
    assert (box.page(), box.mounts()) == ("one", before)
    box.done("audit", "verify")


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_is_cut_in_a_step_is_made_anew_and_the_upgrade_ends_one_way_or_the_other(
    box: Box, step: str
) -> None:
    before, mounts = box.page(), box.mounts()
    cutting = box.when(step, "cut")
    code, envelope, told = box.run("upgrade", "web") if before == "one" else box.run("rollback", "web")
    cutting.join()
    assert box.cuts.pop() > 0
    (ended,) = envelope["data"]["transactions"]
    after = {"one": "two", "two": "one"}[before]
    assert (code, ended["state"]) in ((0, "committed"), (1, "rolled-back")), told
    assert box.page() == (after if code == 0 else before)
    assert (box.mounts(), box.done("status")["jails"][0]["mismatch"]) == (mounts, None)


def test_a_host_that_goes_away_in_an_upgrade_leaves_it_open_and_recovery_settles_it(box: Box) -> None:
    mounts = box.mounts()
    verb = "upgrade" if box.page() == "one" else "rollback"
    going = box.when("remount_root", "stop")
    code, envelope, _ = box.run(verb, "web")
    going.join()
    assert box.cuts.pop() > 0
    assert (code, envelope["error"]["code"]) == (69, "unreachable")
    assert "cannot reach box" in envelope["error"]["message"]
    code, envelope, told = box.run("status")
    assert [one["state"] for one in envelope["data"]["open"]] == ["forward"]
    assert "warning: cannot reach box" in told
    assert box.run("recover")[0] == 69
    (finding,) = (one for one in box.run("doctor")[1]["data"]["checks"] if one["check"] == "host")
    assert finding["verdict"] == "bad"
    box.server.start()
    box.done("recover")
    (status,) = box.done("status")["jails"]
    assert (status["state"], status["mismatch"], box.mounts()) == ("running", None, mounts)
    assert box.page() in ("one", "two")


def test_doctor_looks_at_the_host_and_boot_files_are_not_for_it(box: Box) -> None:
    findings = {one["check"]: one for one in box.run("doctor")[1]["data"]["checks"]}
    assert findings["host"]["detail"].startswith("box, booted as ")
    assert (findings["tools of ssh"]["verdict"], findings["tools of lxc"]["verdict"]) == ("ok", "ok")
    code, envelope, _ = box.run("boot", "install", "-n")
    assert (code, envelope["error"]["message"].startswith("cannot recover at boot: box has neither")) == (1, True)
