"""``doctor`` says whether approvals and secrets can do what they promise."""

from pathlib import Path

import pytest

from commands.cli.guards import identity_finding, policy_findings, secret_findings
from commands.config import Config
from commands.drivers.host import LocalHost
from ledger.authority import Person

PLAIN = {"template": {"debian": {"bootstrap": "debian", "suite": "x"}}}
JAIL = {"template": "debian", "command": ["/x"]}


@pytest.mark.parametrize(
    ("uid", "source", "verdict", "words"),
    [
        (61001, "login-uid", "ok", "you are paul"),
        (61001, "session", "ok", "you are paul"),
        (61001, "process", "warning", "the kernel keeps no audit identity"),
        (0, "uid", "warning", "only root"),
        (0, "login-uid", "warning", "only root"),
    ],
)
def test_it_says_what_an_approval_would_go_by(uid: int, source: str, verdict: str, words: str) -> None:
    found = identity_finding(Person.model_validate({"uid": uid, "login": "paul", "source": source}))
    assert (found.verdict, words in found.detail) == (verdict, True)


def test_it_says_nothing_where_nobody_is_asked_and_there_are_no_secrets() -> None:
    assert list(policy_findings(Config.model_validate({**PLAIN, "jail": {"web": JAIL}}))) == []


def test_a_jail_that_asks_is_enough() -> None:
    config = Config.model_validate({**PLAIN, "jail": {"web": {**JAIL, "policy": {"require_approval": True}}}})
    assert [one.check for one in policy_findings(config)] == ["approvals"]


def test_a_file_that_others_can_read_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "web.env"
    file.write_text("A=s3cret\n")
    file.chmod(0o644)
    config = Config.model_validate({**PLAIN, "jail": {"web": {**JAIL, "environment_file": str(file)}}})
    [found] = secret_findings(config, LocalHost())
    assert (found.check, found.verdict, "others than root can" in found.detail) == ("secrets of web", "bad", True)
