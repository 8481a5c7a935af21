"""Who stands behind a process: what the kernel says, and not what its environment says."""

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from commands.drivers.identity import identify, login_uid
from ledger.authority import Person

ROOT = Path(__file__).parents[2]
#: Users that no system has, so that their logins are their numbers.
PAUL, EVA, DEPLOY = 61001, 61002, 61003
#: A user, and those by whose way he came.
Way = tuple[int, tuple[int, ...]]


def proc(directory: Path, users: Sequence[int], audited: int | None = None) -> Path:
    """A /proc in which we are process 100 and our parents are 101, 102, … with these real users; the last is init's."""
    for number, uid in enumerate(users):
        parent = 0 if number == len(users) - 1 else 101 + number
        text = f"Name:\tsh (x)\nPPid:\t{parent}\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
        for name in ("self", "100") if number == 0 else (str(100 + number),):
            (directory / name).mkdir()
            (directory / name / "status").write_text(text)
    if audited is not None:
        (directory / "self" / "loginuid").write_text(f"{audited}")
    return directory


def behind(
    directory: Path, users: Sequence[int], audited: int | None = None, environment: Mapping[str, str] | None = None
) -> Person:
    return identify(proc(directory, users, audited), environment or {}, platform="Linux")


def test_the_audit_identity_is_believed_before_all_else(tmp_path: Path) -> None:
    found = behind(tmp_path, [0, 0, EVA, 0], PAUL)
    assert (found.uid, found.login, found.source, found.through) == (PAUL, str(PAUL), "login-uid", (EVA,))


def test_without_one_the_outermost_user_among_the_parents_is_the_person(tmp_path: Path) -> None:
    """sshd (root) → paul's shell → sudo -u eva → eva's shell → sudo → us."""
    found = behind(tmp_path, [0, 0, EVA, 0, PAUL, PAUL, 0], audited=0xFFFFFFFF)
    assert (found.uid, found.source, found.through) == (PAUL, "process", (EVA,))


def test_where_nobody_but_root_is_to_be_seen_the_person_is_root(tmp_path: Path) -> None:
    found = behind(tmp_path, [0, 0, 0])
    assert (found.uid, found.login, found.source) == (os.getuid(), pwd.getpwuid(os.getuid()).pw_name, "uid")


def test_without_proc_there_is_only_the_user_id(tmp_path: Path) -> None:
    assert identify(tmp_path / "none", {}, platform="Linux").source == "uid"


@pytest.mark.parametrize("name", ["SUDO_USER", "DOAS_USER"])
def test_what_the_environment_claims_is_recorded_and_not_believed(tmp_path: Path, name: str) -> None:
    found = behind(
        tmp_path, [0, 0, PAUL, 0], environment={name: "eva", "SUDO_UID": str(EVA), "LOGNAME": "eva", "USER": "eva"}
    )
    assert (found.uid, found.claimed) == (PAUL, "eva")


def test_a_true_claim_is_not_worth_a_word(tmp_path: Path) -> None:
    assert behind(tmp_path, [0, 0, PAUL, 0], environment={"SUDO_USER": str(PAUL)}).claimed is None


@pytest.mark.parametrize("text", ["", "x", "-1", "4294967295", "1 2"])
def test_an_audit_identity_that_is_not_one_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "loginuid").write_text(text)
    assert login_uid(tmp_path) is None


def test_a_chain_that_is_a_loop_ends(tmp_path: Path) -> None:
    proc(tmp_path, [0, PAUL, 0])
    (tmp_path / "102" / "status").write_text("PPid:\t101\nUid:\t0\t0\t0\t0\n")
    assert identify(tmp_path, {}, platform="Linux").uid == PAUL


def test_a_process_that_is_gone_ends_the_chain(tmp_path: Path) -> None:
    proc(tmp_path, [0, PAUL, EVA, 0])
    (tmp_path / "102" / "status").unlink()
    assert identify(tmp_path, {}, platform="Linux").uid == PAUL


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((PAUL, ()), (EVA, ()), False),
        ((PAUL, ()), (PAUL, ()), True),
        ((PAUL, ()), (EVA, (PAUL,)), True),  # eva by way of paul: sudo -u
        ((PAUL, (EVA,)), (EVA, ()), True),
        ((PAUL, (DEPLOY,)), (EVA, (DEPLOY,)), False),  # both by way of a shared account, each from a login of their own
        ((0, ()), (EVA, ()), True),  # anybody may be behind root
        ((PAUL, ()), (0, ()), True),
    ],
)
def test_who_can_be_told_apart(one: Way, other: Way, same: bool) -> None:
    first, second = (Person(uid=uid, login="x", source="process", through=through) for uid, through in (one, other))
    assert first.may_be(second) is second.may_be(first) is same


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/self/loginuid").exists(), reason="only root sets a login uid")
def test_the_kernels_own_word_is_read() -> None:
    """A real process with a real audit identity, which sudo and su would keep."""
    program = "from commands.drivers.identity import identify; p = identify(); print(p.uid, p.source, p.claimed)"
    script = f'echo {PAUL} > /proc/self/loginuid && SUDO_USER=eva exec "$0" -c "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this container may not set a login uid")
    assert done.stdout.split() == [str(PAUL), "login-uid", "eva"]
