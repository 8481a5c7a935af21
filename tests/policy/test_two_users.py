"""Two users of this machine, with shells and sudo of their own: what the kernel tells of them is all that the gate has.

The users are made for the test and removed after it. Each way is taken twice: with the audit identity that a login on a
real machine has (pam_loginuid(8)), which sudo and su keep, and without it, as in many containers.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import Record
from ledger.events import ApprovalGiven, TransactionBegun, TransactionPlanned
from ledger.reader import LedgerReader
from tests.cli.bench import CONFIG
from tests.policy.conftest import POLICY

ROOT = Path(__file__).parents[2]
TOOLS = ("sudo", "setpriv", "useradd", "userdel", "setsid")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, TOOLS)), reason=f"needs root, {', '.join(TOOLS)}"
    ),
]


@dataclass(frozen=True)
class User:
    """A user of this machine."""

    login: str
    uid: int


@dataclass
class Desks:
    """One host, two users. ``audited`` gives a login its audit identity."""

    directory: Path
    paul: User
    eva: User
    audited: bool = False

    @property
    def rootswap(self) -> str:
        """The command line, as it is typed behind sudo."""
        return f"{sys.executable} -m tests.policy.desk {self.directory}"

    def shell(self, user: User, script: str) -> subprocess.CompletedProcess[str]:
        """What ``user`` types into the shell of a fresh login."""
        login = f"echo {user.uid} > /proc/self/loginuid && " if self.audited else ""
        become = f"exec setpriv --reuid={user.uid} --regid={user.uid} --clear-groups /bin/sh -c"
        # The shell stays between the login and what it starts, as a shell does.
        return subprocess.run(
            ["/bin/sh", "-c", f'{login}{become} "$0"', f"{script}; exit $?"],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def types(self, user: User, words: str, before: str = "sudo -n") -> subprocess.CompletedProcess[str]:
        """``user`` types ``BEFORE rootswap WORDS``."""
        return self.shell(user, f"{before} {self.rootswap} {words}")

    def plans(self, user: User) -> str:
        """A plan of ``user`` to stop web, or to start it."""
        verb = "--stop" if "jail:web" in json.loads((self.directory / "world.json").read_text()) else "--start"
        done = self.types(user, f"plan web {verb} --reason maintenance --json")
        assert done.returncode == 0, done.stderr
        transaction: str = json.loads(done.stdout)["data"]["transaction"]
        return transaction

    def records(self, transaction: str) -> list[Record]:
        """The records of a transaction, after the ledger was verified."""
        with LedgerReader.open(self.directory / "state" / "ledger") as reader:
            reader.verify()
            return [one for one in reader.records(transaction=transaction) if isinstance(one, Record)]


@pytest.fixture(scope="module")
def users() -> Iterator[tuple[User, User]]:
    """Paul and Eva, with the right to become root, and each other."""
    made = []
    rights = Path(f"/etc/sudoers.d/rootswap-test-{os.getpid()}")
    try:
        for name in ("paul", "eva"):
            login = f"rs{name}{os.getpid()}"
            subprocess.run(["useradd", "--no-create-home", "--user-group", "--shell", "/bin/sh", login], check=True)
            made.append(login)
        rights.write_text("".join(f"{login} ALL=(ALL) NOPASSWD: SETENV: ALL\n" for login in made))
        rights.chmod(0o440)
        ids = [int(subprocess.run(["id", "-u", n], capture_output=True, text=True, check=True).stdout) for n in made]
        paul, eva = (User(login, uid) for login, uid in zip(made, ids, strict=True))
        yield paul, eva
    finally:
        rights.unlink(missing_ok=True)
        for login in made:
            subprocess.run(["userdel", login], check=False)


@pytest.fixture(scope="module")
def place(users: tuple[User, User], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host where web runs, and whose policy wants two."""
    directory = tmp_path_factory.mktemp("desks")
    config = directory / "rootswap.toml"
    for policy, words in (("", "init"), ("", "template build debian"), ("", "upgrade web"), (POLICY, "status")):
        config.write_text(CONFIG.format(state=directory / "state") + policy)
        done = subprocess.run(
            [sys.executable, "-m", "tests.policy.desk", str(directory), *words.split()],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(params=["with an audit identity", "without one"])
def desks(request: pytest.FixtureRequest, users: tuple[User, User], place: Path) -> Desks:
    """Both users at the host."""
    audited = request.param == "with an audit identity"
    if audited and not _can_set_a_login_uid():
        pytest.skip("this container may not set a login uid")
    return Desks(place, *users, audited=audited)


def _can_set_a_login_uid() -> bool:
    try:
        script = ["/bin/sh", "-c", "echo 61001 > /proc/self/loginuid"]
        return subprocess.run(script, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_the_second_login_approves_what_the_first_has_planned(desks: Desks) -> None:
    transaction = desks.plans(desks.paul)
    approved = desks.types(desks.eva, f"approve {transaction} --reason read")
    assert approved.returncode == 0, approved.stderr
    ran = desks.types(desks.paul, f"run {transaction}")
    assert ran.returncode == 0, ran.stderr
    records = desks.records(transaction)
    planned, given, begun = (
        next(one for one in records if isinstance(one.event, kind))
        for kind in (TransactionPlanned, ApprovalGiven, TransactionBegun)
    )
    assert isinstance(begun.event, TransactionBegun)
    authority: Any = begun.event.authority
    source = "login-uid" if desks.audited else "process"
    assert (authority.planned_by.uid, authority.planned_by.login, authority.planned_by.source) == (
        desks.paul.uid, desks.paul.login, source
    )  # fmt: skip
    assert (authority.approved_by.uid, authority.approved_by.login) == (desks.eva.uid, desks.eva.login)
    assert [one.actor.login for one in (planned, given, begun)] == [desks.paul.login, desks.eva.login, desks.paul.login]
    assert given.actor.login_uid == (desks.eva.uid if desks.audited else None)


WAYS = {
    "as himself": "sudo -n",
    "with SUDO_USER forged": "sudo -n env SUDO_USER={eva} SUDO_UID={eva_uid} LOGNAME={eva} USER={eva}",
    "as the other, by sudo": "sudo -n -u {eva} sudo -n",
    "as the other, from a root shell": (
        "sudo -n setpriv --reuid={eva_uid} --regid={eva_uid} --clear-groups /bin/sh -c 'sudo -n \"$@\"; exit $?' sh"
    ),
    "as the other, and round again": "sudo -n -u {eva} sudo -n -u {paul} sudo -n -u {eva} sudo -n",
}


def test_the_first_login_does_not_approve_its_own_plan(desks: Desks) -> None:
    transaction = desks.plans(desks.paul)
    for way, words in WAYS.items():
        before = words.format(paul=desks.paul.login, eva=desks.eva.login, eva_uid=desks.eva.uid)
        done = desks.types(desks.paul, f"approve {transaction} --reason mine", before)
        assert (done.returncode, "somebody else has to approve it" in done.stderr) == (1, True), (way, done.stderr)
        assert f"{desks.paul.login} has made it" in done.stderr, way
    # Who cuts the chain of processes is only root, unless the kernel remembers the login.
    out = desks.directory / "detached"
    words = f"{desks.rootswap} approve {transaction} --reason mine"
    done = desks.shell(desks.paul, f"sudo -n setsid -f /bin/sh -c '{words} > {out} 2>&1; echo $? >> {out}'")
    assert done.returncode == 0
    said = _finished(out)
    assert said[-1] == "1"
    cause = "somebody else has to approve it" if desks.audited else "you are only root, and anybody may be behind root"
    assert cause in " ".join(said)


def test_a_root_shell_that_becomes_the_other_behind_our_back_is_found_out_by_the_audit_identity_alone(
    desks: Desks,
) -> None:
    """What the documents say that root can do anyway, done: without an audit identity the gate has nothing to hold."""
    transaction = desks.plans(desks.paul)
    out, script = desks.directory / "detached", desks.directory / "become.sh"
    words = f"sudo -n {desks.rootswap} approve {transaction} --reason mine"
    become = f"setpriv --reuid={desks.eva.uid} --regid={desks.eva.uid} --clear-groups /bin/sh -c"
    script.write_text(f'{become} "{words}; exit \\$?" > {out} 2>&1\necho $? >> {out}\n')
    done = desks.shell(desks.paul, f"sudo -n setsid -f /bin/sh {script}")
    assert done.returncode == 0
    assert _finished(out)[-1] == ("1" if desks.audited else "0")


def _finished(out: Path) -> list[str]:
    """What a detached command has written, its exit status last."""
    lines: list[str] = []
    for _ in range(400):
        lines = out.read_text().splitlines() if out.exists() else []
        if lines and lines[-1].isdigit():
            out.unlink()
            return lines
        time.sleep(0.05)
    raise AssertionError(f"it did not end: {lines}")
