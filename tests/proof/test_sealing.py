"""When the ledger is sealed, what is refused, and how checkpoints leave the host."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import bootstrap
from commands.bootstrap import compose
from commands.config import Config
from commands.config.checks import mistakes_in
from commands.drivers.memory import MemoryWorld
from commands.drivers.sinks import CommandSink, DirectorySink, SyslogSink, syslog_message
from commands.errors import DriverError, Refused
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import Purpose
from commands.transactions.sealing import make_sinks
from ledger.errors import LedgerDamaged
from ledger.events import CopyFailed, CopyResumed
from ledger.reader import LedgerReader
from ledger.schema import connect
from ledger.writer import LedgerWriter
from tests.ledger.attacks import tamper
from tests.ledger.fakes import FakeClock, whole_upgrade
from tests.proof.site import HOST, Site, filled


@pytest.fixture
def site(fast_directory: Path) -> Site:
    return filled(fast_directory)


def drop(site: Site, *, is_required: bool = False) -> DirectorySink:
    return DirectorySink("vault", is_required, HOST, f"{site.base}/vault")


def upgrade(writer: LedgerWriter, number: int) -> None:
    writer.append(f"bbbb{number:04d}", *whole_upgrade("jail:db"))


def noted(site: Site) -> list[str]:
    with LedgerReader.open(site.ledger) as reader:
        return [r.type for r in reader.records() if r.type.startswith("copy.")]


def memory_of(site: Site) -> Path:
    (path,) = (site.base / "keys").glob("*.signed")
    return path


# --- signing ----------------------------------------------------------------------------------------------------------


def test_nothing_new_is_not_signed_again(site: Site) -> None:
    with site.open() as (_, sealer):
        assert sealer.seal().seal == sealer.seal().seal == site.seals()[-1]
    assert len(site.seals()) == 2


@pytest.mark.parametrize("left", [b"", b"rootswap/1\n12", b"\xff\xfe\n1\n2\n"])
def test_what_a_key_signed_last_is_not_signed_over_when_it_is_damaged(site: Site, left: bytes) -> None:
    memory_of(site).write_bytes(left)
    with site.open() as (writer, sealer):
        upgrade(writer, 1)
        sealed = sealer.seal()
    assert sealed.warning is not None and "is not a checkpoint" in sealed.warning and "--since" in sealed.warning
    assert memory_of(site).read_bytes() == left
    assert len(site.seals()) == 2


def test_a_key_that_has_forgotten_what_it_signed_last_is_told_once(site: Site) -> None:
    with site.open() as (writer, sealer):
        assert not sealer.seal().forgot
        memory_of(site).unlink()
        assert sealer.seal().forgot
        assert not sealer.seal().forgot
        memory_of(site).unlink()
        upgrade(writer, 1)
        assert sealer.seal().forgot
    assert memory_of(site).read_text() == site.seals()[-1].checkpoint.text


def test_without_the_keys_the_sentence_names_the_private_half(site: Site) -> None:
    shutil.rmtree(site.base / "keys")
    with site.open() as (writer, sealer):
        upgrade(writer, 1)
        warning = sealer.seal().warning
    assert warning is not None and warning.endswith(f"its private half is not in {site.base}/keys")


def test_keys_are_for_root_alone(site: Site) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (site.base / "keys").iterdir()}
    private = [mode for name, mode in modes.items() if re.fullmatch("[0-9a-f]{16}", name)]
    assert private == [0o400]
    assert (site.base / "keys").stat().st_mode & 0o777 == 0o700
    assert not [name for name in modes if name.endswith((".message", ".sig")) or name.startswith(".")]


def test_a_missing_key_is_a_warning_and_the_ledger_goes_on(site: Site) -> None:
    for path in (site.base / "keys").glob("*"):
        path.unlink()
    with site.open() as (writer, sealer):
        upgrade(writer, 1)
        sealed = sealer.seal()
    assert sealed.warning is not None and "its private half is not in" in sealed.warning
    sealed.require_copies()  # no refusal
    assert site.checkpoint().size == 14


def test_a_ledger_that_does_not_go_on_from_its_seal_is_not_sealed(site: Site) -> None:
    """The stored tree is changed under the seal: the writer's own check, before any signature."""
    tamper(site.ledger, "UPDATE events SET subtrees = zeroblob(96) WHERE seq = 8")
    with site.open() as (writer, sealer):
        upgrade(writer, 1)
        with pytest.raises(LedgerDamaged, match="the checkpoint of 14 records: the records are not those"):
            sealer.seal()
    assert site.seals()[-1].checkpoint.size == 14


def test_a_seal_survives_the_kill_between_signing_and_storing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.open() as (writer, sealer):
        upgrade(writer, 1)
        monkeypatch.setattr(writer.seals, "add", lambda seal: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sealer.seal()
    with site.open() as (writer, sealer):
        upgrade(writer, 2)
        sealer.seal()
    assert site.verify(every_signature=True).vouched is not None


def test_seals_are_append_only(site: Site) -> None:
    connection = connect(site.ledger / "ledger.db")
    for statement in (
        "UPDATE seals SET size = 1",
        "DELETE FROM seals",
        "INSERT OR REPLACE INTO seals SELECT * FROM seals",
        "INSERT INTO seals SELECT 13, checkpoint, signature, at FROM seals WHERE size = 14",
    ):
        with pytest.raises(Exception, match="append-only: a seal is never"):
            connection.execute(statement)
    connection.close()


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_directory_gets_what_base_tools_can_verify(site: Site) -> None:
    (site.base / "vault").mkdir()
    with site.open([drop(site)]) as (writer, sealer):
        sealer.seal()
        upgrade(writer, 1)
        sealer.seal()
    (place,) = (site.base / "vault").iterdir()
    assert sorted(path.name for path in place.iterdir()) == [
        "000000000014.checkpoint", "000000000014.checkpoint.sig",
        "000000000020.checkpoint", "000000000020.checkpoint.sig", "key.pub",
    ]  # fmt: skip
    (site.base / "allowed").write_text("rootswap " + (place / "key.pub").read_text())
    argv: list[str | Path] = ["ssh-keygen", "-Y", "verify", "-f", site.base / "allowed", "-I", "rootswap"]
    argv += ["-n", "rootswap-checkpoint@v1", "-s", place / "000000000020.checkpoint.sig"]
    with (place / "000000000020.checkpoint").open() as text:
        assert subprocess.run(argv, stdin=text, check=False).returncode == 0


def test_a_sink_that_was_down_gets_everything_that_it_missed(site: Site) -> None:
    with site.open([drop(site)]) as (writer, sealer):
        (site.base / "vault").mkdir()
        sealer.seal()
        (site.base / "vault").rename(site.base / "away")
        for number in (1, 2, 3):
            upgrade(writer, number)
            warning = sealer.seal().warning
            assert warning is not None and "sink vault has not got the checkpoint" in warning
        assert noted(site) == ["copy.failed"]
        (site.base / "away").rename(site.base / "vault")
        assert sealer.seal().warning is None
        assert noted(site) == ["copy.failed", "copy.resumed"]
    (place,) = (site.base / "vault").iterdir()
    got = {int(path.name.partition(".")[0]) for path in place.glob("*.checkpoint")}
    assert got == {seal.checkpoint.size for seal in site.seals()} - {7}
    assert CopyFailed.model_fields["type"].default in noted(site) and CopyResumed.__name__


def test_a_required_sink_that_is_down_is_a_refusal_to_begin(site: Site) -> None:
    with site.open([drop(site, is_required=True)]) as (_, sealer):
        sealed = sealer.seal()
        with pytest.raises(Refused, match="checkpoints must leave this host, and sink vault has not got"):
            sealed.require_copies()
        (site.base / "vault").mkdir()
        sealer.seal().require_copies()


def test_an_old_copy_of_the_ledger_does_not_fit_what_a_sink_has(site: Site) -> None:
    (site.base / "vault").mkdir()
    old = (site.ledger / "ledger.db").read_bytes()
    with site.open([drop(site)]) as (writer, sealer):
        upgrade(writer, 1)
        sealer.seal()
    (site.ledger / "ledger.db").write_bytes(old)
    for path in (site.base / "keys").glob("*.signed"):
        path.unlink()
    with site.open([drop(site)]) as (_, sealer), pytest.raises(LedgerDamaged, match="ends with record 14"):
        sealer.seal()


def test_a_command_gets_checkpoint_and_signature(site: Site) -> None:
    out = site.base / "out"
    argv = ("/bin/sh", "-c", f"cat > {out}; test $ROOTSWAP_SIZE = 14")
    with site.open([CommandSink("mail", False, HOST, argv, str(site.base), 10)]) as (_, sealer):
        assert sealer.seal().warning is None
    seal = site.seals()[-1]
    assert out.read_text() == f"{seal.checkpoint.text}\n{seal.signature}"
    assert not (site.base / "mail.input").exists()


def test_a_command_that_fails_is_a_sink_that_is_down(site: Site) -> None:
    argv = ("/bin/sh", "-c", "echo the courier is ill >&2; exit 3")
    with site.open([CommandSink("mail", False, HOST, argv, str(site.base), 10)]) as (_, sealer):
        warning = sealer.seal().warning
    assert warning is not None and "the courier is ill" in warning


# --- syslog -----------------------------------------------------------------------------------------------------------

RFC5424 = re.compile(
    rb"<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z host rootswap - checkpoint "
    rb'\[checkpoint@32473 origin="[^"]+" size="14" root="[^"]+" key="ssh-ed25519 [^"]+" signature="[A-Za-z0-9+/=]+"\] '
    rb"the ledger is sealed to record 14"
)


def syslog(site: Site, url: str) -> bytes:
    with site.open([SyslogSink("log", False, HOST, url, "host", FakeClock(), 5)]) as (_, sealer):
        assert sealer.seal().warning is None
    return b""


@pytest.fixture
def tcp() -> Iterator[tuple[int, list[bytes]]]:
    server, got = socket.create_server(("127.0.0.1", 0)), []

    def take() -> None:
        with server.accept()[0] as taken:
            got.append(b"".join(iter(lambda: taken.recv(4096), b"")))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield server.getsockname()[1], got
    thread.join(5)
    server.close()


def test_syslog_over_udp(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        syslog(site, f"udp://127.0.0.1:{server.getsockname()[1]}")
        message = server.recv(65536)
    assert RFC5424.fullmatch(message)
    assert len(message) < 2048


def test_syslog_over_tcp_counts_octets(site: Site, tcp: tuple[int, list[bytes]]) -> None:
    port, got = tcp
    syslog(site, f"tcp://127.0.0.1:{port}")
    for _ in range(500):
        if got:
            break
        threading.Event().wait(0.01)
    length, _, message = got[0].partition(b" ")
    assert RFC5424.fullmatch(message) and int(length) == len(message)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_syslog_over_a_local_socket(site: Site, kind: socket.SocketKind) -> None:
    path = str(site.base / "log")
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(path)
        server.settimeout(5)
        if kind is socket.SOCK_STREAM:
            server.listen()
        syslog(site, f"unix:{path}")
        message = server.accept()[0].recv(65536) if kind is socket.SOCK_STREAM else server.recv(65536)
    assert RFC5424.fullmatch(message)


def test_a_syslog_that_is_down_is_a_warning(site: Site) -> None:
    sink = SyslogSink("log", False, HOST, f"unix:{site.base}/none", "host", FakeClock(), 5)
    with site.open([sink]) as (_, sealer):
        warning = sealer.seal().warning
    assert warning is not None and "cannot send to unix:" in warning


def test_an_unusable_address_is_said_to_be_one() -> None:
    for url in ("http://x:1", "udp://x", "tcp://:5", "udp://x:99999"):
        with pytest.raises(DriverError, match="not a usable address"):
            HOST.send(url, b"", 1)


def test_what_is_special_in_structured_data_is_escaped(site: Site) -> None:
    message = syslog_message(site.seals()[-1], 'a "key]" \\', "a host", "2026-01-01T00:00:00.000000Z")
    assert b" a-host rootswap " in message and b'key="a \\"key\\]\\" \\\\"' in message


# --- configuration ----------------------------------------------------------------------------------------------------


def test_sinks_come_from_the_configuration() -> None:
    config = Config.model_validate(
        {"audit": {"sinks": {"a": {"directory": "/mnt/a", "required": True}, "b": {"syslog": "udp://log:514"},
                             "c": {"command": ["/bin/mail", "root"]}}}}
    )  # fmt: skip
    assert mistakes_in(config) == []
    sinks = make_sinks(config, HOST, "host", FakeClock())
    assert [(type(sink).__name__, sink.name, sink.is_required) for sink in sinks] == [
        ("DirectorySink", "a", True), ("SyslogSink", "b", False), ("CommandSink", "c", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sink", "text"),
    [
        ({}, "it needs exactly one of directory, syslog and command, and has none"),
        ({"directory": "/a", "syslog": "udp://h:1"}, "and has directory and syslog"),
        ({"syslog": "h:514"}, "is not udp://HOST:PORT"),
        ({"command": []}, "it is empty"),
    ],
)
def test_a_mistaken_sink_is_told(sink: dict[str, object], text: str) -> None:
    ((path, said),) = mistakes_in(Config.model_validate({"audit": {"sinks": {"x": sink}}}))
    assert path[:3] == ("audit", "sinks", "x") and text in said


def test_nothing_of_ours_stays_open(site: Site) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with site.open([drop(site)]) as (_, sealer):
        sealer.seal()
    assert len(os.listdir("/proc/self/fd")) == before


# --- the engine -------------------------------------------------------------------------------------------------------


def test_every_transaction_ends_under_a_checkpoint(tmp_path: Path) -> None:
    site = Site(tmp_path)
    world = MemoryWorld(clock=FakeClock(), drivers_of_jails=frozenset({"lxc"}))
    with site.open() as (writer, sealer):
        drivers = world.drivers()
        session = compose(Config(), writer, drivers, Interrupt(), lambda _plan, _record: None, "boot-1", sealer)
        plan = session.requests.init()
        assert plan is not None
        outcome = session.engine.execute(plan, Purpose())
        assert outcome.warning is None
        assert site.checkpoint().size == writer.seals.checkpoint().size > 1
        for path in (tmp_path / "keys").glob("*"):
            path.unlink()
        writer.note(CopyResumed(sink="x", size=1))
        assert session.sealer is sealer
        warning = sealer.seal().warning
        assert warning is not None and "cannot seal the ledger" in warning


def test_a_new_ledger_has_a_key_and_its_first_seal(tmp_path: Path) -> None:
    config = Config(state_directory=str(tmp_path))
    with bootstrap.open_session(config, interrupt=Interrupt(), observer=lambda _p, _r: None, create=True) as session:
        assert session.sealed is not None and session.sealed.warning is None
    assert Site(tmp_path).checkpoint().size == 1
    with bootstrap.open_session(config, interrupt=Interrupt(), observer=lambda _p, _r: None) as session:
        assert session.ledger.seals.key() is not None
    assert [seal.checkpoint.size for seal in Site(tmp_path).seals()] == [1]
