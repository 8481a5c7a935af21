"""``audit log``."""

import sqlite3
from pathlib import Path

import pytest

from commands.cli import main
from tests.cli.read_verbs.stories import Run, data, upgrade
from tests.site import Site


def test_audit_log_says_who_did_what_when_and_to_what_end(site: Site, run: Run) -> None:
    site.run(upgrade).raise_unless_committed()
    code, out, _ = run("audit", "log", "--target", "jail:web", "--tx", "00000004")
    assert code == 0
    heading, *lines = out.splitlines()
    assert heading.split() == ["SEQ", "TIME", "WHO", "TARGET", "TRANSACTION", "WHAT", "OUTCOME", "TOOK", "DETAIL"]
    stop = next(line for line in lines if "stop_jail succeeded" in line)
    assert " root " in stop and " jail:web " in stop and " ok " in stop and "running → stopped" in stop
    assert "+02:00" in stop
    assert len(data(run("audit", "log", "--limit", "3", "--json"))) == 3


def test_audit_log_as_jsonl_is_what_is_stored_to_the_byte(
    site: Site, config: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["--config", str(config), "audit", "log", "-o", "jsonl"]) == 0
    connection = sqlite3.connect(site.directory / "ledger.db")
    stored = [record for (record,) in connection.execute("SELECT record FROM events ORDER BY seq")]
    connection.close()
    assert capfdbinary.readouterr().out == b"".join(record + b"\n" for record in stored)


def test_audit_log_is_cut_by_time(site: Site, run: Run) -> None:
    everything = data(run("audit", "log", "--json"))
    moment = everything[7]["at"]
    assert data(run("audit", "log", "--json", "--since", moment)) == everything[7:]
    assert data(run("audit", "log", "--json", "--until", moment)) == everything[:7]
    local = moment.replace("Z", "+00:00").replace("T03:", "T05:").replace("+00:00", "+02:00")
    assert data(run("audit", "log", "--json", "--since", local)) == everything[7:]
    assert data(run("audit", "log", "--json", "--since", local.removesuffix("+02:00"))) == everything[7:], "local time"
    assert run("audit", "log", "--since", "0s")[1].startswith("no records of that kind")
    for wrong in ("yesterday", "2 h", "-1h", "99999999999999999999d"):
        code, _, err = run("audit", "log", f"--since={wrong}")
        assert code == 2
        assert "cannot understand the time" in err
