"""Every way to falsify a signed ledger, done for real on the file, and what verify then says."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.checkpoint import Checkpoint, Seal, fingerprint
from ledger.errors import LedgerDamaged
from ledger.events import KeyRotated
from ledger.merkle import Frontier, leaf_hash
from ledger.writer import LedgerWriter
from tests.ledger.attacks import tamper
from tests.ledger.fakes import ORIGIN, CountedIds, FakeClock, create, whole_unwinding, whole_upgrade
from tests.proof.site import Site, filled

Attack = Callable[[Site], None]


@pytest.fixture
def site(fast_directory: Path) -> Site:
    return filled(fast_directory, tail=2)


def refused(site: Site, **evidence: object) -> str:
    with pytest.raises(LedgerDamaged) as caught:
        site.verify(**evidence)
    assert caught.value.exit_code == 4
    assert caught.value.remedy
    return caught.value.message


def test_a_sound_ledger_is_sealed_up_to_its_last_checkpoint(site: Site) -> None:
    vouched = site.verify().vouched
    assert vouched is not None
    assert (vouched.sealed, vouched.tail, vouched.seals, vouched.signatures) == (14, 2, 2, 1)
    every = site.verify(every_signature=True, pinned=vouched.key).vouched
    assert every is not None and every.signatures == 2


def test_a_ledger_without_any_signature_is_not_vouched_for(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with create(site.ledger) as writer:
        writer.append("aaaa0001", *whole_upgrade())
    assert "none of its 7 records is under a signed checkpoint" in refused(site)


def rewrite(site: Site, *, also_seals: bool = False) -> None:
    """What root can do at best: write another history, with good hashes, links and nodes, in place of this one."""
    seals = site.seals()
    shutil.rmtree(site.ledger)
    with site_without_signing(site) as writer:
        writer.append("aaaa0001", *whole_upgrade("jail:mail"))
        writer.append("aaaa0002", *whole_unwinding("jail:db"))
        forged = writer.seals.checkpoint(7), writer.seals.checkpoint(14)
    connection = sqlite3.connect(site.ledger / "ledger.db")
    with connection:
        for seal, false in zip(seals, forged, strict=True):
            text = false.text if also_seals else seal.checkpoint.text
            connection.execute("INSERT INTO seals VALUES (?, ?, ?, '')", (false.size, text, seal.signature))
    connection.close()


def site_without_signing(site: Site) -> LedgerWriter:
    """A new ledger with the name and the public key of the old one."""
    ids, counted = iter([(site.base / "first-id").read_text()]), CountedIds()
    key = (site.base / "first-key").read_text()
    return LedgerWriter.create(site.ledger, ORIGIN, FakeClock(), key=key, new_id=lambda: next(ids, None) or counted())


def keep_identity(site: Site) -> None:
    """The forger keeps the name of the ledger and its public key: both can be read."""
    (site.base / "first-id").write_text(site.checkpoint().origin.rpartition("/")[2])
    vouched = site.verify().vouched
    assert vouched is not None
    (site.base / "first-key").write_text(vouched.key)


def test_another_history_under_the_old_checkpoints_is_found(site: Site) -> None:
    keep_identity(site)
    rewrite(site)
    assert "the checkpoint of 7 records: the records are not those that it was signed for" in refused(site)


def test_another_history_with_its_own_checkpoints_is_found_by_the_signature(site: Site) -> None:
    keep_identity(site)
    rewrite(site, also_seals=True)
    assert "the checkpoint of 14 records: it was not signed by the key of the ledger" in refused(site)


SQL = {
    "an edit": (
        "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), 'paul', 'eva') AS BLOB) WHERE seq = 3",
        "record 3: its bytes are not those that were hashed",
    ),
    "a truncation": ("DELETE FROM events WHERE seq > 12", "record 13: it is missing, but a checkpoint of 14 rec"),
    "a changed column": ("UPDATE events SET target = 'jail:x' WHERE seq = 4", "record 4: column target"),
    "a changed node": ("UPDATE events SET subtrees = zeroblob(64) WHERE seq = 4", "record 4: the subtrees stored"),
    "a lost node": ("UPDATE events SET subtrees = x'' WHERE seq = 8", "record 8: the subtrees stored with it"),
    "a changed root in a checkpoint": (
        "UPDATE seals SET checkpoint = replace(checkpoint, substr(checkpoint, -20, 8), 'AAAAAAAA') WHERE size = 7",
        "the checkpoint of 7 records: the records are not those",
    ),
    "a changed size in a checkpoint": (
        "UPDATE seals SET size = 6 WHERE size = 7", "the checkpoint of 6 records: it says 7"
    ),
    "nonsense in a checkpoint": ("UPDATE seals SET checkpoint = 'x' WHERE size = 7", "a checkpoint has three lines"),
    "the signature of another checkpoint": (
        "UPDATE seals SET signature = (SELECT signature FROM seals WHERE size = 7) WHERE size = 14",
        "the checkpoint of 14 records: it was not signed by the key of the ledger",
    ),
    "a signature that is none": (
        "UPDATE seals SET signature = 'yes' WHERE size = 14", "the checkpoint of 14 records: it was not signed"
    ),
    "all checkpoints removed": ("DELETE FROM seals", "none of its 16 records is under a signed checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "message"), SQL.values(), ids=SQL.keys())
def test_what_sql_can_do_is_found(site: Site, statement: str, message: str) -> None:
    tamper(site.ledger, statement)
    assert message in refused(site)


def test_a_dropped_trigger_is_found(site: Site) -> None:
    for name in ("events_refuse_update", "seals_refuse_delete"):
        copy = Site(site.base / name)
        shutil.copytree(site.ledger, copy.ledger)
        connection = sqlite3.connect(copy.ledger / "ledger.db")
        connection.execute(f"DROP TRIGGER {name}")
        connection.close()
        assert f"trigger {name} is missing" in refused(copy)


def test_reordered_records_are_found(site: Site) -> None:
    tamper(site.ledger, "UPDATE events SET seq = CASE seq WHEN 5 THEN 1000 WHEN 6 THEN 1001 ELSE seq END")
    tamper(site.ledger, "UPDATE events SET seq = CASE seq WHEN 1000 THEN 6 WHEN 1001 THEN 5 ELSE seq END")
    assert "record 5: column seq says 5, the record 6" in refused(site)


def test_an_old_signature_is_looked_at_when_asked(site: Site) -> None:
    tamper(site.ledger, "UPDATE seals SET signature = 'yes' WHERE size = 7")
    assert site.verify().vouched is not None  # the seal of 14 covers all that the seal of 7 does
    assert "the checkpoint of 7 records: it was not signed" in refused(site, every_signature=True)


def truncate(site: Site) -> None:
    """To the state after the first transaction, with everything that belongs to it, and nothing that does not."""
    tamper(site.ledger, "DELETE FROM events WHERE seq > 7")
    tamper(site.ledger, "DELETE FROM seals WHERE size > 7")
    tamper(site.ledger, "DELETE FROM transactions WHERE begun_seq > 7")
    tamper(site.ledger, "DELETE FROM targets WHERE seq > 7")


def test_a_clean_truncation_is_found_only_by_a_checkpoint_kept_elsewhere(site: Site) -> None:
    kept = site.seals()[-1]
    truncate(site)
    vouched = site.verify().vouched
    assert vouched is not None and vouched.sealed == 7
    message = "record 8: it is missing, but a checkpoint of 14 records was signed"
    assert message in refused(site, checkpoints=(kept.checkpoint,))
    assert message in refused(site, seals=(kept,))


def test_a_truncation_below_a_seal_is_found(site: Site) -> None:
    tamper(site.ledger, "DELETE FROM events WHERE seq > 7")
    tamper(site.ledger, "DELETE FROM transactions WHERE begun_seq > 7")
    tamper(site.ledger, "DELETE FROM targets WHERE seq > 7")
    assert "record 8: it is missing, but a checkpoint of 14 records was signed" in refused(site)


def test_an_old_copy_put_back_is_found_by_whoever_saw_the_newer_one(fast_directory: Path) -> None:
    site = filled(fast_directory)
    shutil.copytree(site.ledger, fast_directory / "old")
    with site.open() as (writer, sealer):
        writer.append("aaaa0009", *whole_upgrade("jail:db"))
        sealer.seal()
    kept = site.checkpoint()
    shutil.rmtree(site.ledger)
    shutil.copytree(fast_directory / "old", site.ledger)
    assert "record 15: it is missing" in refused(site, checkpoints=(kept,))
    # The key remembers as well: nothing more is signed, nor written, on the old copy.
    with site.open() as (_, sealer), pytest.raises(LedgerDamaged, match="ends with record 14, but a checkpoint of 20"):
        sealer.seal()


def test_a_fork_is_found(fast_directory: Path) -> None:
    """Two histories go on from one copy; each is signed by the same key, which forgot."""
    site = filled(fast_directory / "a")
    shutil.copytree(site.base, fast_directory / "b")
    other = Site(fast_directory / "b")
    for each, jail in ((site, "jail:db"), (other, "jail:mail")):
        with each.open() as (writer, sealer):
            writer.append("aaaa0009", *whole_upgrade(jail))
            sealer.seal()
    assert site.verify().vouched is not None and other.verify().vouched is not None
    false = "the checkpoint of 20 records: the records are not those that it was signed for"
    assert false in refused(site, checkpoints=(other.checkpoint(),))
    assert false in refused(site, seals=tuple(other.seals()))


def test_older_checkpoints_kept_elsewhere_are_consistent(site: Site) -> None:
    older = [seal.checkpoint for seal in site.seals()]
    vouched = site.verify(checkpoints=tuple(older), seals=tuple(site.seals())).vouched
    assert vouched is not None and vouched.signatures == 2


def test_a_checkpoint_of_another_ledger_is_refused(site: Site, tmp_path: Path) -> None:
    other = filled(tmp_path)
    assert "it is of another ledger" in refused(site, checkpoints=(other.checkpoint(),))


def test_a_checkpoint_signed_with_a_foreign_key_is_found(site: Site, tmp_path: Path) -> None:
    foreign = Site(tmp_path).keys
    key = foreign.make_key()
    text = site.checkpoint().text
    signature = foreign.sign(text.encode(), key, "rootswap-checkpoint@v1")
    assert "it was not signed by the key of the ledger" in refused(
        site, seals=(Seal(Checkpoint.parse(text), signature),)
    )
    connection = sqlite3.connect(site.ledger / "ledger.db")
    (trigger,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'seals_refuse_update'").fetchone()
    connection.execute("DROP TRIGGER seals_refuse_update")
    connection.execute("UPDATE seals SET signature = ? WHERE size = 14", (signature,))
    connection.execute(trigger)
    connection.commit()
    connection.close()
    assert "it was not signed by the key of the ledger" in refused(site)


def test_a_signature_for_another_purpose_is_worth_nothing(site: Site) -> None:
    vouched = site.verify().vouched
    assert vouched is not None
    text = site.checkpoint().text
    signature = site.keys.sign(text.encode(), vouched.key, "file")
    assert "it was not signed" in refused(site, seals=(Seal(Checkpoint.parse(text), signature),))


def test_a_ledger_made_anew_with_a_foreign_key_is_found_by_whoever_has_ours(site: Site, tmp_path: Path) -> None:
    vouched = site.verify().vouched
    assert vouched is not None
    forged = filled(tmp_path)
    assert forged.verify().vouched is not None  # sound in itself: only a key kept elsewhere tells
    assert f"{fingerprint(vouched.key)} was never its key" in refused(forged, pinned=vouched.key)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_handed_over_by_the_one_before(site: Site) -> None:
    before = site.verify().vouched
    with site.open() as (writer, sealer):
        new = sealer.rotate()
        sealer.seal()
        assert writer.seals.key() == new
    after = site.verify(pinned=before.key if before else None, every_signature=True).vouched
    assert after is not None and (after.key, after.sealed, after.tail) == (new, 17, 0)
    assert after.signatures == len(site.seals()) == 4


def test_a_key_that_took_over_by_itself_is_found(site: Site, tmp_path: Path) -> None:
    thief = Site(tmp_path).keys
    stolen = thief.make_key()
    ours = site.verify().vouched
    assert ours is not None
    with site.open() as (writer, _):
        writer.note(KeyRotated(previous=ours.key, key=stolen, signature=None))
    assert "record 17: the new key was not signed by the one before it" in refused(site)


def test_a_key_that_follows_one_that_never_was_is_found(site: Site, tmp_path: Path) -> None:
    stolen = Site(tmp_path).keys.make_key()
    with site.open() as (writer, _):
        writer.note(KeyRotated(previous=None, key=stolen, signature=None))
    assert "record 17: it hands over a key that was not in force" in refused(site)


def test_a_checkpoint_after_the_change_by_the_old_key_is_found(site: Site) -> None:
    ours = site.verify().vouched
    assert ours is not None
    with site.open() as (writer, sealer):
        sealer.rotate()
        late = writer.seals.checkpoint()
        signature = site.keys.sign(late.text.encode(), ours.key, "rootswap-checkpoint@v1")
        writer.seals.add(Seal(late, signature))
    assert "the checkpoint of 17 records: it was not signed" in refused(site)


def test_a_ledger_of_version_1_gets_its_first_key_by_an_event(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with create(site.ledger) as writer:
        writer.append("aaaa0001", *whole_upgrade())
    with site.open() as (_, sealer):
        assert sealer.seal().warning == "cannot seal the ledger: it has no key; `rootswap audit rotate-key` makes one"
        sealer.rotate()
        assert sealer.seal().warning is None
    vouched = site.verify().vouched
    assert vouched is not None and vouched.sealed == 8


def test_the_trees_of_the_file_and_of_the_records_are_one(site: Site) -> None:
    connection = sqlite3.connect(site.ledger / "ledger.db")
    frontier = Frontier()
    for data, subtrees in connection.execute("SELECT record, subtrees FROM events ORDER BY seq"):
        assert b"".join(frontier.add(leaf_hash(data))) == subtrees
    connection.close()
    with site.open() as (writer, _):
        assert writer.seals.checkpoint().root == frontier.root()
