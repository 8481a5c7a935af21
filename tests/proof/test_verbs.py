"""The verbs of ``audit`` that prove, from the command line to the exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.cli import main, transact
from tests.ledger.attacks import tamper
from tests.proof.site import Site, filled

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(fast_directory: Path) -> Site:
    return filled(fast_directory / "state", tail=2)


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    config = site.base.parent / "rootswap.toml"
    config.write_text(f'state_directory = "{site.base}"\n[audit.sinks.vault]\ndirectory = "{site.base}/vault"\n')
    config.chmod(0o644)
    monkeypatch.setattr(transact, "require_root", lambda: None)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--config", str(config), *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_verify_says_how_far_the_ledger_is_sealed(run: Run) -> None:
    code, out, _ = run("audit", "verify")
    assert code == 0
    assert "the ledger is sound: sealed to 14, tail 2 (not signed yet)" in out
    assert "compare it with the key that you keep elsewhere" in out
    code, out, _ = run("audit", "verify", "--json", "--every-signature")
    data = json.loads(out)["data"]
    assert (data["records"], data["vouched"]["sealed"], data["vouched"]["signatures"]) == (16, 14, 2)


def test_verify_fails_closed_and_names_the_record(run: Run, site: Site) -> None:
    tamper(site.ledger, "UPDATE events SET target = 'jail:x' WHERE seq = 4")
    code, out, err = run("audit", "verify")
    assert (code, out) == (4, "")
    assert "record 4: column target says 'jail:x', the record 'jail:web'" in err


def test_verify_fails_closed_on_a_memory_that_is_damaged_and_warns_of_one_that_is_gone(run: Run, site: Site) -> None:
    (memory,) = (site.base / "keys").glob("*.signed")
    kept = memory.read_bytes()
    for left in (b"", kept[: len(kept) // 2]):
        memory.write_bytes(left)
        code, out, err = run("audit", "verify")
        assert (code, out) == (4, "") and "what a key signed last is damaged" in err
    memory.unlink()
    code, out, err = run("audit", "verify", "--json")
    assert (code, json.loads(out)["data"]["remembered"]) == (0, False)
    assert err.startswith("warning: nothing beside the ledger tells how far it went")
    assert "what the key signed last (keys/*.signed) was not there" in run("audit", "checkpoint")[2]
    code, out, err = run("audit", "verify", "--json")
    assert (code, json.loads(out)["data"]["remembered"], err) == (0, True, "")


def test_checkpoints_that_were_carried_away_are_compared(run: Run, site: Site) -> None:
    (site.base / "vault").mkdir()
    code, out, _ = run("audit", "checkpoint", "--copy", str(site.base))
    assert code == 0 and out.splitlines()[1] == "16"
    (place,) = site.base.glob("rootswap_*")
    kept, key = str(place / "000000000016.checkpoint"), str(place / "key.pub")
    assert sorted(path.name for path in (site.base / "vault").glob("*/*16.checkpoint*")) == [
        "000000000016.checkpoint", "000000000016.checkpoint.sig",
    ]  # fmt: skip
    code, out, _ = run("audit", "verify", "--checkpoint", kept, "--since", kept, "--key", key)
    assert code == 0 and "sealed to 16, tail 0" in out and "compare" not in out
    text = Path(kept).read_text()
    (site.base / "false").write_text(text.replace(text[-20:-10], "A" * 10))
    code, _, err = run("audit", "verify", "--since", str(site.base / "false"))
    assert code == 4 and "the records are not those that it was signed for" in err
    shutil.copy(kept, site.base / "unsigned")
    assert run("audit", "verify", "--checkpoint", str(site.base / "unsigned"))[0] != 0
    assert run("audit", "verify", "--since", key)[0] == 2


def test_a_sink_that_is_down_is_told(run: Run) -> None:
    code, _, err = run("audit", "checkpoint")
    assert code == 1 and "sink vault has not got the checkpoint of 17 records" in err


def test_a_proof_is_made_and_checked(run: Run, site: Site) -> None:
    file = str(site.base / "9.proof")
    assert run("audit", "prove", "9", "--output", file)[0] == 0
    code, out, _ = run("audit", "check-proof", file)
    assert code == 0 and "proved: record 9 of 14 in rootswap/host-1/" in out
    code, out, _ = run("audit", "check-proof", file, "--json")
    assert json.loads(out)["data"]["record"]["seq"] == 9
    (public,) = (site.base / "keys").glob("*.pub")
    assert run("audit", "check-proof", file, "--key", str(public))[0] == 0
    other = filled(site.base / "other")
    (foreign,) = (other.base / "keys").glob("*.pub")
    code, _, err = run("audit", "check-proof", file, "--key", str(foreign))
    assert code == 4 and "it is signed by SHA256:" in err
    Path(file).write_bytes(Path(file).read_bytes().replace(b"paul", b"eva!"))
    assert run("audit", "check-proof", file)[0] == 4


def test_what_is_not_sealed_yet_has_no_proof(run: Run) -> None:
    code, _, err = run("audit", "prove", "15")
    assert code == 1 and "remedy: run `rootswap audit checkpoint` first" in err


def test_the_key_is_handed_over(run: Run, site: Site) -> None:
    (site.base / "vault").mkdir()
    code, out, _ = run("audit", "rotate-key", "--json")
    key = json.loads(out)["data"]["key"]
    assert code == 0
    (site.base / "new.pub").write_text(key)
    code, out, _ = run("audit", "verify", "--key", str(site.base / "new.pub"), "--every-signature")
    assert code == 0 and "tail 0" in out
    assert len((site.base / "keys" / "allowed_signers").read_text().splitlines()) == 2


def test_an_old_copy_put_back_does_not_fit_what_the_key_remembers(run: Run, site: Site) -> None:
    (site.base / "vault").mkdir()
    old = (site.ledger / "ledger.db").read_bytes()
    assert run("audit", "checkpoint")[0] == 0
    (site.ledger / "ledger.db").write_bytes(old)
    assert site.verify().vouched is not None  # sound in itself
    with_more = run("audit", "verify")
    assert with_more[0] == 0  # the two records after the old seal are in the old copy as well
    truncate = ("DELETE FROM events WHERE seq > 14", "DELETE FROM transactions WHERE begun_seq > 14")
    for statement in truncate:
        tamper(site.ledger, statement)
    assert site.verify().vouched is not None
    code, _, err = run("audit", "verify")
    assert code == 4 and "record 15: it is missing, but a checkpoint of 16 records was signed" in err
