"""A secret is in the environment of the jail, and nowhere in the log, the plans, the output or a complaint."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from commands.config import Config
from commands.config.checks import mistakes_in
from commands.drivers.base import Completed, HealthCheck, JailSpec
from commands.drivers.health import HostHealth
from commands.drivers.host import LocalHost
from commands.drivers.memory import MemoryJails, MemoryWorld
from commands.drivers.secret_files import Secrets, parsed
from commands.drivers.secret_jails import SecretJails, roots_own
from commands.drivers.values import SecretFile
from commands.errors import DriverError
from commands.steps.check_health import with_last_words
from tests.policy.conftest import EVA, PAUL, POLICY, Office

FILE = "/etc/rootswap/secrets/web.env"
PASSWORD = "correct horse 'battery' staple"
TOKEN = "8f14e45fceea167a"
CONTENT = f"# of web\nDB_PASSWORD={PASSWORD}\n\nAPI_TOKEN={TOKEN}\n".encode()
SPOKEN = (PASSWORD, TOKEN)


def jail(file: SecretFile | None = None, *command: str) -> JailSpec:
    return JailSpec(
        driver="lxc", name="web", root="/root", command=("/app", *command), environment=(("LANG", "C"),), secrets=file
    )


def of(content: bytes) -> Secrets:
    return Secrets(lambda _path: content)


def kept(office: Office) -> bytes:
    """All bytes of the ledger and what lies beside it."""
    files = [path for path in (office.bench.directory / "state").rglob("*") if path.is_file()]
    assert len(files) > 1
    return b"".join(path.read_bytes() for path in files)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_file_of_names_and_values_is_taken_as_it_stands() -> None:
    assert parsed("f", CONTENT) == {"DB_PASSWORD": PASSWORD, "API_TOKEN": TOKEN}
    assert parsed("f", b"A==\nB= x \nC=#\nD=\n") == {"A": "=", "B": " x ", "C": "#", "D": ""}
    assert parsed("f", b"") == {}


@pytest.mark.parametrize(
    "content",
    [b"s3cret", b"export A=s3cret", b"1A=s3cret", b"A =s3cret", b"A=s3cret\nA=s3cret", b"A=s3\x00cret", b"A=\xffs3cret",
     b"A=s3cret\r\n", b"A=s3cret" * 9000],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_complained_of_without_a_word_of_what_it_holds(content: bytes) -> None:
    with pytest.raises(DriverError, match="cannot use f: ") as caught:
        parsed("f", content)
    assert "s3" not in caught.value.message + caught.value.remedy
    assert caught.value.__cause__ is None


def test_only_a_file_of_roots_own_is_read(tmp_path: Path) -> None:
    read = roots_own(LocalHost())
    file = tmp_path / "web.env"
    file.write_bytes(CONTENT)
    file.chmod(0o600)
    if file.stat().st_uid == 0:
        assert read(str(file)) == CONTENT
    for mode in (0o640, 0o604, 0o620, 0o666):
        file.chmod(mode)
        with pytest.raises(DriverError, match="others than root can"):
            read(str(file))
    link = tmp_path / "link.env"
    link.symlink_to(file)
    with pytest.raises(DriverError):
        read(str(link))
    with pytest.raises(DriverError):
        read(str(tmp_path / "none"))


@pytest.mark.parametrize("driver", ["jail", "nspawn"])
def test_where_a_runtime_would_not_take_or_would_show_them_secrets_are_a_mistake(driver: str) -> None:
    config = Config.model_validate(
        {
            "template": {"debian": {"bootstrap": "debian", "suite": "x"}},
            "jail": {"web": {"template": "debian", "driver": driver, "command": ["/x"], "environment_file": FILE}},
        }
    )
    assert [key for key, _ in mistakes_in(config)] == [("jail", "web", "environment_file")]


# --- the digest -------------------------------------------------------------------------------------------------------


def test_the_digest_is_salted_and_stays_as_long_as_the_content_does() -> None:
    first, second = of(CONTENT).reference("f"), of(CONTENT).reference("f")
    assert (first.salt != second.salt, first.digest != second.digest) == (True, True)
    assert of(CONTENT).reference("f", (None, first)) == first
    changed = of(CONTENT + b"X=1\n").reference("f", (None, first))
    assert (changed.salt != first.salt, changed.digest != first.digest) == (True, True)
    assert of(CONTENT).reference("g", (first,)).path == "g"
    told = first.model_dump_json()
    assert not any(word in told for word in SPOKEN)


def test_what_was_digested_is_what_is_used() -> None:
    """Whoever exchanges the file between preflight and start changes nothing of the plan."""
    contents = iter([CONTENT, b"DB_PASSWORD=other\n"])
    secrets = Secrets(lambda _path: next(contents))
    file = secrets.reference("f")
    assert dict(secrets.resolved(jail(file)).environment)["DB_PASSWORD"] == PASSWORD


# --- the jail ---------------------------------------------------------------------------------------------------------


def test_a_jail_is_started_with_its_secrets_in_environment_and_command() -> None:
    secrets = of(CONTENT)
    spec = jail(secrets.reference("f"), "--token=@{API_TOKEN}", "@{DB_PASSWORD}@{API_TOKEN}", "@{", "$API_TOKEN")
    found = secrets.resolved(spec)
    assert found.command == ("/app", f"--token={TOKEN}", PASSWORD + TOKEN, "@{", "$API_TOKEN")
    assert dict(found.environment) == {"LANG": "C", "DB_PASSWORD": PASSWORD, "API_TOKEN": TOKEN}
    assert secrets.resolved(jail()) == jail()


def test_a_name_that_is_not_there_or_is_there_twice_is_a_reason_not_to_start() -> None:
    secrets = of(CONTENT)
    with pytest.raises(DriverError, match=r"wants @\{NO_SUCH\}, which is not among its secrets"):
        secrets.resolved(jail(secrets.reference("f"), "@{NO_SUCH}"))
    doubled = of(b"LANG=de\n")
    with pytest.raises(DriverError, match="LANG is both in its environment and among its secrets"):
        doubled.resolved(jail(doubled.reference("f")))


class Talkative(MemoryJails):
    """A runtime that tells all it knows."""

    def start(self, jail: JailSpec) -> None:
        raise DriverError(f"cannot start {jail.command} with {jail.environment}", remedy=f"see {jail.environment[0]}")

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        said = " ".join(value for _, value in jail.environment)
        return Completed(1, said, f"{argv}: {jail.environment!r}")

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        return tuple(f"{'x' * 190} is {value}" for value in SPOKEN)


def test_what_a_runtime_says_of_the_secrets_is_not_told() -> None:
    secrets = of(CONTENT)
    spec = jail(secrets.reference("f"), "--token=@{API_TOKEN}")
    runtime = SecretJails(Talkative(MemoryWorld()), secrets)
    with pytest.raises(DriverError) as caught:
        runtime.start(spec)
    done = runtime.execute(spec, ["env"], 1.0)
    check = HostHealth(LocalHost(), {"lxc": runtime}).ask(HealthCheck(name="env", command=("env",)), spec)
    drivers = replace(MemoryWorld().drivers(), jails={"lxc": runtime})
    words = with_last_words(drivers, spec)
    assert "@{" in words
    for told in (
        words,
        caught.value.message,
        str(caught.value),
        caught.value.remedy,
        done.stdout,
        done.stderr,
        check or "",
    ):
        assert not any(word in told for word in (*SPOKEN, "horse", TOKEN[:8])), told
    assert "--token=@{API_TOKEN}" in caught.value.message
    assert "@{DB_PASSWORD}" in done.stdout


# --- the whole --------------------------------------------------------------------------------------------------------

WITH_FILE = f"""
[jail.web.policy]
[jail.mail]
template = "debian"
command = ["/usr/sbin/exim4", "--token=@{{API_TOKEN}}"]
environment_file = "{FILE}"
"""


@pytest.fixture
def desk(office: Office) -> Office:
    """An office where mail has secrets."""
    office.bench.world.files[FILE] = CONTENT
    text = office.bench.config.read_text().replace(POLICY, "")
    begin = text.index("[jail.mail]")
    office.bench.configure(text[:begin] + WITH_FILE.partition("[jail.web.policy]\n")[2])
    return office


def test_a_secret_reaches_the_jail_and_neither_the_ledger_nor_the_output(desk: Office) -> None:
    outputs = [desk.bench.run(*words) for words in (
        ["upgrade", "mail", "-n", "--json"], ["upgrade", "mail", "--json"], ["status", "--json"], ["config", "show"],
        ["tx", "list", "--json"], ["audit", "log", "--json"], ["plan", "mail", "--stop", "--json"], ["plans", "--json"],
        ["rollback", "mail"], ["jail", "stop", "mail"], ["jail", "start", "mail"],
    )]  # fmt: skip
    assert all(printed.code in (0, 1) for printed in outputs)
    started = desk.bench.world.started["mail"]
    assert started.command == ("/usr/sbin/exim4", f"--token={TOKEN}")
    assert dict(started.environment)["DB_PASSWORD"] == PASSWORD
    told = kept(desk) + "".join(one.out + one.err for one in outputs).encode()
    for word in (*SPOKEN, "battery", json.dumps(PASSWORD)[1:-1]):
        assert word.encode() not in told
    assert b'"command":["/usr/sbin/exim4","--token=@{API_TOKEN}"]' in kept(desk)
    assert FILE.encode() in kept(desk)


def test_a_failed_start_does_not_tell_the_secret_to_the_log(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryJails, "start", Talkative.start)
    printed = desk.bench.run("upgrade", "mail")
    assert (printed.code, "cannot start ('/usr/sbin/exim4', '--token=@{API_TOKEN}')" in printed.err) == (1, True)
    told = kept(desk) + printed.err.encode() + desk.bench.run("audit", "log", "--json").out.encode()
    assert not any(word.encode() in told for word in (*SPOKEN, "battery"))


def test_a_changed_secret_is_a_change_that_an_upgrade_takes_and_the_log_shows(desk: Office) -> None:
    def digest() -> str:
        with sqlite3.connect(desk.bench.ledger / "ledger.db") as connection:
            [(stored,)] = connection.execute("SELECT state FROM targets WHERE target = 'jail:mail'")
        found: str = json.loads(stored)["deployment"]["jail"]["secrets"]["digest"]
        return found

    assert desk.bench.run("upgrade", "mail").code == 0
    first = digest()
    assert desk.bench.run("upgrade", "mail").out == "nothing to do\n"
    desk.bench.world.files[FILE] = CONTENT.replace(b"8f14", b"9f14")
    assert desk.bench.run("upgrade", "mail").code == 0
    assert digest() != first
    assert desk.bench.world.started["mail"].command[1] == "--token=9f14e45fceea167a"
    assert desk.bench.run("upgrade", "mail").out == "nothing to do\n"
    # Back to the deployment before, with the secret of today.
    assert desk.bench.run("rollback", "mail").code == 0
    assert desk.bench.world.started["mail"].command[1] == "--token=9f14e45fceea167a"


def test_a_jail_that_was_stopped_is_not_started_with_secrets_that_nobody_has_taken(desk: Office) -> None:
    for words in (["upgrade", "mail"], ["jail", "stop", "mail"], ["jail", "start", "mail"], ["jail", "stop", "mail"]):
        assert desk.bench.run(*words).code == 0
    desk.bench.world.files[FILE] = b"API_TOKEN=another\n"
    printed = desk.bench.run("jail", "start", "mail")
    assert (printed.code, f"the secrets in {FILE} were changed since it was deployed" in printed.err) == (1, True)
    assert desk.bench.run("upgrade", "mail").code == 0
    assert desk.bench.run("jail", "start", "mail").code == 0


def test_secrets_that_are_gone_are_found_out_before_anything_is_stopped(desk: Office) -> None:
    assert desk.bench.run("upgrade", "mail").code == 0
    before = dict(desk.bench.world.state)
    del desk.bench.world.files[FILE]
    desk.bench.world.files["/other"] = b""
    printed = desk.bench.run("rollback", "mail")
    assert printed.code == 1
    assert desk.bench.run("upgrade", "mail").code == 1
    assert desk.bench.run("jail", "stop", "mail").code == 0  # whatever has become of the secrets
    assert {key for key in before if key not in desk.bench.world.state} == {"jail:mail"}


def test_a_secret_that_is_changed_after_the_approval_makes_another_plan(desk: Office) -> None:
    desk.bench.configure(desk.bench.config.read_text() + POLICY)
    mine, other = (desk.plan(PAUL, "mail") for _ in range(2))
    for transaction in (mine, other):
        assert desk.run(EVA, "approve", transaction, "--reason", "yes").code == 0
    desk.bench.world.files[FILE] = CONTENT.replace(b"horse", b"zebra")
    printed = desk.run(PAUL, "run", mine)
    assert (printed.code, "it is not as it was" in printed.err or "is not as it was when it was planned: "
            "after.deployment.jail.secrets.digest" in printed.err) == (1, True)  # fmt: skip
    desk.bench.world.files[FILE] = CONTENT
    assert desk.run(PAUL, "run", other).code == 0
