"""A disk that says it has flushed a block, and has not: nothing can bring the records back, but their loss is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.cli import main
from tests.ledger.fakes import whole_upgrade
from tests.proof.site import Site, filled

BLOCK = 4096


@pytest.fixture
def cut(fast_directory: Path) -> tuple[Site, Site]:
    """A ledger of 14 records, and how a power cut leaves it after 6 more were acknowledged and signed."""
    before = filled(fast_directory / "before")
    shutil.copytree(before.base, fast_directory / "alive")
    alive, after = Site(fast_directory / "alive"), Site(fast_directory / "after")
    with alive.open() as (writer, sealer):
        writer.append("aaaa0009", *whole_upgrade("jail:db"))
        sealer.seal()
        shutil.copytree(alive.base, after.base)
    assert (after.ledger / "ledger.db-wal").stat().st_size > 10 * BLOCK
    return before, after


@pytest.fixture
def verified(fast_directory: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Site], tuple[int, int]]:
    """The exit code of ``audit verify``, and how many records it has found sound."""

    def verified(site: Site) -> tuple[int, int]:
        config = fast_directory / "rootswap.toml"
        config.write_text(f'state_directory = "{site.base}"\n')
        config.chmod(0o644)
        capsys.readouterr()
        code = main(["--config", str(config), "audit", "verify", "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out)["data"]["records"] if code == 0 else 0

    return verified


def test_whichever_flushed_block_of_the_log_is_lost_no_signed_record_goes_missing_unnoticed(
    cut: tuple[Site, Site], verified: Callable[[Site], tuple[int, int]]
) -> None:
    _, after = cut
    assert verified(after) == (0, 20)
    log = after.ledger / "ledger.db-wal"
    whole = log.read_bytes()
    told = set()
    for at in range(0, len(whole), BLOCK):
        for name in ("ledger.db-shm", "ledger.db-wal"):
            (after.ledger / name).unlink(missing_ok=True)
        log.write_bytes(whole[:at] + bytes(len(whole[at : at + BLOCK])) + whole[at + BLOCK :])
        told.add(verified(after))
    assert (4, 0) in told
    assert told <= {(4, 0), (0, 20)}


def test_whichever_flushed_block_of_the_file_is_lost_is_noticed(
    cut: tuple[Site, Site], verified: Callable[[Site], tuple[int, int]]
) -> None:
    before, after = cut
    with after.open():
        pass  # whoever closes it last puts the log into the file
    new, old = (site.ledger.joinpath("ledger.db").read_bytes() for site in (after, before))
    assert verified(after) == (0, 20)
    changed = [
        at for at in range(0, len(new), BLOCK) if new[at : at + BLOCK] != old[at : at + BLOCK].ljust(BLOCK, b"\0")
    ]
    assert len(changed) > 3
    told = set()
    for at in changed:
        (after.ledger / "ledger.db").write_bytes(new[:at] + old[at : at + BLOCK] + new[at + BLOCK :])
        told.add(verified(after))
    assert (4, 0) in told
    assert told <= {(4, 0), (0, 20)}
