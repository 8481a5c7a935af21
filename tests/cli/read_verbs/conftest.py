"""A real ledger, a host in memory, and the real command line."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.cli import main
from commands.config import load
from tests.cli.read_verbs.stories import Run, ask, leave
from tests.site import Site

CONFIG = """
state_directory = "{state}"
[storage]
path = "/memory/pool"
[template.debian]
bootstrap = "debian"
suite = "bookworm"
[jail.web]
template = "debian"
command = ["/usr/sbin/nginx"]
volumes = {{ log = "/var/log/nginx" }}
health.page = {{ http = "http://127.0.0.1/", timeout_s = 1 }}
[jail.mail]
template = "debian"
command = ["/usr/sbin/exim4"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose ledger is at state/ledger beside it."""
    path = tmp_path / "rootswap.toml"
    path.write_text(CONFIG.format(state=tmp_path / "state"))
    return path


@pytest.fixture
def site(config: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A host in memory with web on its first release and a newer one at hand; no engine runs."""
    found = Site(config.parent / "state" / "ledger", load(str(config)).config).settle()
    ask(monkeypatch, found.world.drivers())
    leave(found)
    return found


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command line in a place two hours east of UTC: exit code, stdout, stderr."""
    monkeypatch.setenv("TZ", "EET-2")
    time.tzset()

    def command(*words: str) -> tuple[int, str, str]:
        code = main(["--config", str(config), *words])
        return code, *capsys.readouterr()

    yield command
    monkeypatch.undo()
    time.tzset()
