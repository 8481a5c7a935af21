"""``audit browse``: Datasette on a verified copy, for whoever has the link, on this machine only."""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from commands.cli import main
from projections.questions import QUESTIONS
from tests.browser import Browser, needs_chromium
from tests.ledger.attacks import tamper
from tests.proof.site import Site, filled

pytestmark = pytest.mark.skipif(
    find_spec("datasette") is None, reason="the extra browse is not installed: pip install 'rootswap[browse]'"
)
ROOTSWAP = str(Path(sys.executable).parent / "rootswap")


@dataclass
class Served:
    """A running `audit browse`, what it has said, and the link."""

    process: "subprocess.Popen[str]"
    said: list[str]
    link: str
    copy: Path

    @property
    def base(self) -> str:
        return self.link.partition("/-/")[0]

    def get(self, path: str, cookie: str = "") -> tuple[int, str, bytes]:
        """Status, cookie and body, with no cookie but the one given."""
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=20)
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        return answer.status, (answer.getheader("set-cookie") or "").partition(";")[0], answer.read()


def configure(site: Site) -> Path:
    config = site.base / "rootswap.toml"
    config.write_text(f'state_directory = "{site.base}"\n')
    return config


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A ledger with two checkpoints and a tail."""
    return filled(tmp_path_factory.mktemp("site"), tail=2)


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    """The command as a person runs it."""
    copy = site.base / "copy"
    words = ["--config", str(configure(site)), "audit", "browse", "--copy", str(copy)]
    with subprocess.Popen([ROOTSWAP, *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line.strip())
            if line.startswith("open this link"):
                break
        link = next((line for line in said if "token=" in line), "")
        assert link, said
        yield Served(process, said, link, copy)
        process.terminate()


def test_the_copy_was_verified_and_is_told_by_its_digest(served: Served) -> None:
    assert served.said[0] == (
        "The ledger was verified for this page: records 1 to 14 are signed, and 2 after them are not signed yet."
    )
    digests = {path: digest for digest, path in (line.split() for line in served.said[1:3])}
    assert {Path(path).name for path in digests} == {"history.db", "ledger.db"}
    for path, digest in digests.items():
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_it_listens_on_this_machine_alone(served: Served) -> None:
    port = urlsplit(served.base).port
    assert port is not None
    listening = {
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    }
    assert listening == {f"0100007F:{port:04X}"}


@needs_chromium
def test_a_person_finds_facets_and_the_questions(served: Served) -> None:
    for path in ("/", "/history", "/history/changes", "/history/changes.json", "/ledger/events/1"):
        assert served.get(path)[0] == 403, "nobody is let in without the link"
    with Browser() as browser:
        browser.look_at(1280)
        browser.go(served.link)
        assert "rootswap ledger" in browser.ask("document.title")
        browser.go(f"{served.base}/history")
        for question in QUESTIONS:
            assert browser.ask(f"!!document.querySelector('a[href=\"/history/{question.name}\"]')"), question.name
        browser.go(f"{served.base}/history/changes")
        facets = browser.ask("[...document.querySelectorAll('.facet-info-name')].map(one => one.textContent.trim())")
        assert {facet.split()[0] for facet in facets} == {"target", "state", "kind"}
        browser.go(f"{served.base}/history/failed?since=&until=")
        assert "health check failed" in browser.ask("document.body.innerText")
        for width in (1280, 400):
            browser.look_at(width)
            browser.go(f"{served.base}/history/downtime?since=&until=")
            assert browser.ask("document.querySelector('h1').getBoundingClientRect().width") <= width
        assert all(asked.startswith((served.base, "data:")) for asked in browser.requested)
        cookie = browser.ask("document.cookie") or browser.call("Network.getCookies")["cookies"][0]
    with_cookie = cookie if isinstance(cookie, str) else f"{cookie['name']}={cookie['value']}"
    _compare_with_the_command_line(served, with_cookie)
    assert served.get("/history.db", with_cookie)[0] == 403, "no file is given away"
    assert served.get("/_internal", with_cookie)[0] == 403
    again = urlsplit(served.link)
    assert served.get(f"{again.path}?{again.query}")[0] == 403, "the link works once"


def _compare_with_the_command_line(served: Served, cookie: str) -> None:
    for question in QUESTIONS:
        status, _, body = served.get(f"/history/{question.name}.json?_shape=array&since=&until=", cookie)
        assert status == 200, body
        rows = json.loads(body)
        assert all(not key.endswith("_ns") for row in rows for key in row)
        if question.name == "population":
            assert [row["begun_seq"] for row in rows] == [2, 8, 15]
    later = json.loads(served.get("/history/population.json?_shape=array&since=2100-01-01&until=", cookie)[2])
    assert later == []


def test_a_signal_ends_it_and_the_copy_goes_with_it(site: Site, tmp_path: Path) -> None:
    words = ["--config", str(configure(site)), "audit", "browse"]
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([ROOTSWAP, *words], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line.strip())
                if line.startswith("open this link"):
                    break
            copy = Path(said[1].split()[1])
            assert copy.exists()
            process.send_signal(number)
            assert process.wait(30) == 0
        assert not copy.parent.exists()


def test_a_ledger_that_was_tampered_with_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = filled(tmp_path)
    tamper(site.ledger, "UPDATE events SET record = CAST(replace(record, 'paul', 'eve!') AS BLOB) WHERE seq = 9")
    before = set(Path("/var/tmp").glob("rootswap-browse-*"))
    assert main(["--config", str(configure(site)), "audit", "browse"]) == 4
    assert "record 9" in capsys.readouterr().err
    assert set(Path("/var/tmp").glob("rootswap-browse-*")) <= before


def test_a_place_that_exists_is_refused(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(configure(site)), "audit", "browse", "--copy", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--config", str(configure(site)), "audit", "browse"]) == 69
    assert "rootswap[browse]" in capsys.readouterr().err
