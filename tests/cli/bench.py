"""The command line on a host in memory, with a real ledger and real configuration files."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from commands import bootstrap
from commands.bootstrap import ROOT, Session, compose
from commands.cli import main, transact
from commands.config import Config, load
from commands.drivers.memory import MemoryWorld
from commands.transactions.engine import Observer
from commands.transactions.interrupt import Interrupt
from ledger.authority import Person
from ledger.codec import Actor, Origin
from ledger.writer import LedgerWriter
from tests.site import FakeClock

CONFIG = """\
state_directory = "{state}"

[storage]
path = "{state}/pool"

[template.debian]
bootstrap = "debian"
suite = "bookworm"

[jail.web]
template = "debian"
command = ["/usr/sbin/nginx"]
volumes = {{ log = "/var/log/nginx" }}
health.page.http = "http://127.0.0.1/"

[jail.mail]
template = "debian"
command = ["/usr/sbin/exim4"]
"""


@dataclass(frozen=True)
class Printed:
    """What one command line left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def data(self) -> Any:
        """What the envelope holds."""
        return self.envelope["data"]


@dataclass
class Bench:
    """Runs command lines in this process; what they change lives in ``world``."""

    directory: Path
    capsys: pytest.CaptureFixture[str]
    world: MemoryWorld = field(
        default_factory=lambda: MemoryWorld(clock=FakeClock(), drivers_of_jails=frozenset({"lxc"}))
    )
    gate: Callable[[str], None] | None = None
    person: Person = ROOT

    def __post_init__(self) -> None:
        self.configure(CONFIG.format(state=self.directory / "state"))

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "rootswap.toml"

    @property
    def ledger(self) -> Path:
        """The directory of the ledger."""
        return self.directory / "state" / "ledger"

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.config.write_text(text)
        self.config.chmod(0o644)

    def run(self, *words: str) -> Printed:
        """Run ``rootswap WORDS``."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config), *words])
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        return Printed(code, printed.out, printed.err)

    def settle(self) -> None:
        """A pool, a template with two releases, and ``web`` on the first of them."""
        for words in (["init"], ["template", "build", "debian"], ["upgrade", "web"], ["template", "upgrade", "debian"]):
            assert self.run(*words).code == 0

    @contextmanager
    def open(self) -> Iterator[Session]:
        """An engine without a command line."""
        with self.open_session(
            load(str(self.config)).config, interrupt=Interrupt(), observer=lambda _plan, _record: None
        ) as session:
            yield session

    @contextmanager
    def open_session(
        self,
        config: Config,
        *,
        interrupt: Interrupt,
        observer: Observer,
        invoked: tuple[str, ...] = ("rootswap",),
        create: bool = False,
    ) -> Iterator[Session]:
        """Stands in for bootstrap.open_session."""
        actor = Actor(uid=0, login="root", login_uid=None, invoked=invoked, tty=None)
        origin = Origin(host_id="host", boot_id="boot-1", engine_version="0", actor=actor)
        opened = LedgerWriter.create if create else LedgerWriter.open
        self.world.cancelled = lambda: interrupt.signal is not None
        with opened(Path(config.ledger_directory), origin, self.world.clock) as ledger:
            drivers = self.world.drivers()
            self.world.gate = self.gate or (lambda _point: None)
            yield compose(config, ledger, drivers, interrupt, observer, "boot-1", person=self.person)


def make_bench(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose engine needs no root."""
    bench = Bench(directory, capsys)
    monkeypatch.setattr(bootstrap, "open_session", bench.open_session)
    monkeypatch.setattr(transact, "require_root", lambda: None)
    monkeypatch.delenv("ROOTSWAP_CONFIG", raising=False)
    return bench
