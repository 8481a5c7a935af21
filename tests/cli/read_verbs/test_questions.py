"""The questions of ``audit`` on the command line, in every format."""

import csv
import hashlib
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from commands.cli.app import VERBS
from ledger.proof import Proof
from ledger.reader import LedgerReader
from tests.cli.read_verbs.stories import Run, data, get_stuck, upgrade
from tests.proof.site import Site as SignedSite
from tests.proof.site import filled
from tests.site import Script, Site, fail

LISTS = ("failed", "rollbacks", "unapproved", "outside-window", "open", "who", "downtime", "population")


def answered(answer: tuple[int, str, str]) -> dict[str, Any]:
    """The data of an answer that is not a list."""
    found: Any = data(answer)
    return dict(found)


@pytest.fixture
def story(site: Site) -> Site:
    """Web is upgraded, and rolled back by an operator."""
    site.run(upgrade).raise_unless_committed()
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    return site


@pytest.mark.parametrize("verb", LISTS)
def test_every_question_answers_in_every_format(story: Site, run: Run, verb: str) -> None:
    whole: Any = data(run("audit", verb, "--json"))
    lines = whole["changes"] if isinstance(whole, dict) else whole
    code, out, _ = run("audit", verb, "-o", "jsonl")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == lines
    rows = list(csv.DictReader(io.StringIO(run("audit", verb, "-o", "csv")[1])))
    assert len(rows) == len(lines)
    if lines:
        assert set(rows[0]) == set(lines[0])
    assert run("audit", verb)[0] == 0
    assert run("audit", verb, "--since", "0s")[1] == run("audit", verb, "--until", "2000-01-01T00:00:00Z")[1]
    code, _, err = run("audit", verb, "--since", "yesterday")
    assert (code, "cannot understand the time" in err) == (2, True)


def test_tables_say_it_in_words(story: Site, run: Run) -> None:
    assert "TARGET    CHANGES" in run("audit", "downtime")[1]
    assert "jail:web" in run("audit", "rollbacks")[1]
    assert "by an operator" in run("audit", "rollbacks")[1]
    assert run("audit", "failed")[1] == "nothing failed in that period\n"
    assert run("audit", "open")[1] == "nothing is open\n"
    assert run("audit", "unapproved", "--target", "web")[1].count("jail:web") == 3


def test_a_limit_says_that_there_is_more(story: Site, run: Run) -> None:
    code, out, err = run("audit", "unapproved", "--limit", "2", "-o", "jsonl")
    assert (code, len(out.splitlines())) == (0, 2)
    assert "only the newest 2 are shown" in err
    assert run("audit", "unapproved", "--limit", "0", "-o", "jsonl")[2] == ""


def test_what_is_stuck_is_open(site: Site, run: Run) -> None:
    get_stuck(site)
    line = data(run("audit", "open", "--json"))[0]
    assert (line["transaction_id"], line["state"]) == ("00000004", "stuck")
    assert "somebody else's root is mounted" in run("audit", "open")[1]
    assert data(run("audit", "failed", "--json"))[0]["transaction_id"] == "00000004"


def test_what_failed_tells_why_and_how_long_the_way_back_took(site: Site, run: Run) -> None:
    site.run(upgrade, Script(strike_at=1, strike=fail, only="before setting jail:web"))
    line = data(run("audit", "failed", "--json"))[0]
    assert line["state"] == "rolled-back"
    assert "struck at point" in line["cause"]
    assert line["unwind_ns"] > 0
    back = data(run("audit", "rollbacks", "--json"))[0]
    assert (back["how"], back["took_ns"]) == ("by the engine", line["unwind_ns"])


def test_show_is_that_of_the_transaction(story: Site, run: Run) -> None:
    assert run("audit", "show", "00000004") == run("tx", "show", "00000004")


def test_at_a_moment_it_says_what_ran_and_which_record_says_so(story: Site, run: Run) -> None:
    log = data(run("audit", "log", "--json"))
    deployed = next(
        line for line in log if line["type"] == "transaction.committed" and line["transaction_id"] == "00000002"
    )
    answer = answered(run("audit", "at", deployed["at"], "--json"))
    assert (answer["seq"], answer["checkpoint"]) == (deployed["seq"], None)
    web = next(target for target in answer["targets"] if target["target"] == "jail:web")
    assert (web["release"], web["running"], web["brought_by"]) == ("debian@00000001", True, "00000002")
    assert web["settled_seq"] == deployed["seq"]
    code, out, _ = run("audit", "at", deployed["at"], "--target", "web")
    assert code == 0
    assert out.startswith(f"as of record {deployed['seq']}, ")
    assert "not under a signed checkpoint yet" in out
    rows = list(csv.DictReader(io.StringIO(run("audit", "at", deployed["at"], "-o", "csv")[1])))
    assert {row["seq"] for row in rows} == {str(deployed["seq"])}
    assert "nothing was there" in run("audit", "at", "2000-01-01T00:00:00Z")[1]


def test_under_way_it_says_so(story: Site, run: Run) -> None:
    log = data(run("audit", "log", "--json"))
    stopped = next(line for line in log if line["what"].startswith("step 2 stop_jail succeeded"))
    web = answered(run("audit", "at", stopped["at"], "--json"))["targets"]
    under_way = next(target for target in web if target["target"] == "jail:web")
    assert (under_way["open"], under_way["open_kind"]) == (stopped["transaction_id"], "upgrade")


# --- with signatures --------------------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path) -> SignedSite:
    """A ledger with two checkpoints, 7 and 14 records, and a tail of two."""
    found = filled(tmp_path / "signed", tail=2)
    (found.base / "rootswap.toml").write_text(f'state_directory = "{found.base}"\n')
    return found


def command(site: SignedSite, *words: str) -> int:
    return main(["--config", str(site.base / "rootswap.toml"), *words])


def test_a_population_states_what_shows_that_it_is_whole(
    signed: SignedSite, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert command(signed, "audit", "population", "--json") == 0
    found = json.loads(capfdbinary.readouterr().out)["data"]
    assert command(signed, "audit", "population", "-o", "jsonl") == 0
    listed = capfdbinary.readouterr().out
    statement = found["statement"]
    assert statement["sha256"] == hashlib.sha256(listed).hexdigest()
    assert (statement["count"], statement["covered"], statement["not_covered"]) == (3, 2, 1)
    assert statement["checkpoint"] == signed.checkpoint().text
    assert statement["records"] == 16
    # What anybody can count in the exact records, which the checkpoint is of.
    assert command(signed, "audit", "export", "--format", "jsonl") == 0
    begun = capfdbinary.readouterr().out.count(b'"type":"transaction.begun"},"event_id"')
    assert begun == statement["count"]


def test_the_evidence_proves_itself_with_base_tools(
    signed: SignedSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "evidence.zip"
    assert command(signed, "audit", "evidence", "aaaa0001", "aaaa0002", "--output", str(file)) == 0
    assert "2 transactions, 13 records under the checkpoint of 14 records" in capsys.readouterr().err
    place = tmp_path / "unpacked"
    with zipfile.ZipFile(file) as whole:
        whole.extractall(place)
    (check,) = [
        part for part in (place / "README.md").read_text().split("\n\n") if "sha256sum" in part and "ssh-" in part
    ]
    script = "set -e\n" + "\n".join(line.strip() for line in check.splitlines()).replace("|| break", "|| exit 1")
    done = subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PROVED: record") == 13
    with LedgerReader.open(signed.ledger) as reader:
        for record in reader.records(transaction="aaaa0001"):
            stored = (place / "aaaa0001" / f"{record.seq:012d}.json").read_bytes()
            proof = Proof.parse((place / "aaaa0001" / f"{record.seq:012d}.proof").read_bytes())
            assert proof.record == stored
            assert proof.check(signed.checker) == record
    assert "health check failed" in (place / "index.html").read_text()


@pytest.mark.parametrize("spoilt", ["000000000002.json", "000000000003.proof"])
def test_evidence_that_was_changed_does_not_prove_itself(signed: SignedSite, tmp_path: Path, spoilt: str) -> None:
    file = tmp_path / "evidence.zip"
    assert command(signed, "audit", "evidence", "aaaa0001", "--output", str(file)) == 0
    place = tmp_path / "unpacked"
    with zipfile.ZipFile(file) as whole:
        whole.extractall(place)
    victim = place / "aaaa0001" / spoilt
    victim.write_bytes(victim.read_bytes().replace(b"paul", b"eve!"))
    sums = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=place, capture_output=True, check=False)
    assert sums.returncode != 0
    # Whoever mends the sums as well is found out by the proofs.
    readme = (place / "README.md").read_text()
    loop = readme[readme.index("    for proof") : readme.index("    done") + 8].replace("|| break", "|| exit 1")
    done = subprocess.run(["bash", "-c", loop], cwd=place, capture_output=True, check=False)
    assert done.returncode != 0


def test_the_same_evidence_is_the_same_zip_but_for_its_page(signed: SignedSite, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        assert command(signed, "audit", "evidence", "aaaa0001", "--output", str(tmp_path / name)) == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_what_is_not_signed_yet_is_no_evidence(
    signed: SignedSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(signed, "audit", "evidence", "aaaa0003", "--output", str(tmp_path / "x.zip")) == 1
    assert "audit checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()


def test_at_names_the_checkpoint_that_vouches(signed: SignedSite, capsys: pytest.CaptureFixture[str]) -> None:
    with LedgerReader.open(signed.ledger) as reader:
        moments = {record.seq: record.at for record in reader.records()}
    for seq, size in ((5, "7"), (7, "7"), (8, "14")):
        assert command(signed, "audit", "at", moments[seq], "--json") == 0
        answer = json.loads(capsys.readouterr().out)["data"]
        assert (answer["seq"], answer["checkpoint"].splitlines()[1]) == (seq, size)
    assert command(signed, "audit", "at", moments[16], "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["checkpoint"] is None


def test_a_report_and_an_export_go_to_files_of_root_alone(signed: SignedSite, tmp_path: Path) -> None:
    for words in (["report"], ["export", "--format", "ocsf"]):
        file = tmp_path / words[0]
        assert command(signed, "audit", *words, "--output", str(file)) == 0
        assert file.stat().st_mode & 0o777 == 0o600
    assert "records 1 to 14 are signed, and 2 after them are not" in (tmp_path / "report").read_text()
    assert command(signed, "audit", "report", "--output", str(tmp_path / "no" / "where")) == 1


def test_an_export_that_fails_leaves_the_old_file(signed: SignedSite, tmp_path: Path) -> None:
    from tests.ledger.attacks import tamper

    file = tmp_path / "events.jsonl"
    file.write_text("old")
    tamper(signed.ledger, "UPDATE events SET record = CAST(replace(record, 'paul', 'eve!') AS BLOB) WHERE seq = 9")
    assert command(signed, "audit", "export", "--format", "jsonl", "--output", str(file)) == 4
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["events.jsonl"]
    assert file.read_text() == "old"


def test_every_question_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--help"]) == 0
    said = capsys.readouterr().out
    for path, _, _ in VERBS:
        noun, _, verb = path.partition(" ")
        assert noun != "audit" or f" {verb} " in said
