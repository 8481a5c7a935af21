"""A proof of one record: made from the ledger, checked without it, by us and by base tools alone."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import NotSealed, ProofRefused
from ledger.proof import Proof
from ledger.reader import LedgerReader
from tests.proof.site import Site, filled

SCRIPT = Path(__file__).parents[2] / "projections" / "pages" / "check-proof.sh"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return filled(tmp_path_factory.mktemp("site"), tail=2)


def prove(site: Site, seq: int) -> Proof:
    with LedgerReader.open(site.ledger) as reader:
        return reader.prove(seq)


def by_base_tools(site: Site, proof: bytes, key: str) -> subprocess.CompletedProcess[str]:
    (site.base / "proof").write_bytes(proof)
    (site.base / "key.pub").write_text(key + " kept elsewhere\n")
    argv = [SCRIPT, site.base / "proof", site.base / "key.pub"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seq", range(1, 15))
def test_every_sealed_record_is_proved_without_the_ledger(site: Site, seq: int) -> None:
    proof = prove(site, seq)
    assert Proof.parse(proof.format()) == proof
    record = Proof.parse(proof.format()).check(site.checker, proof.key)
    assert record.seq == seq


@pytest.mark.parametrize("seq", [1, 2, 9, 13, 14])
def test_ssh_keygen_and_sha256sum_prove_the_same(site: Site, seq: int) -> None:
    proof = prove(site, seq)
    done = by_base_tools(site, proof.format(), proof.key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PROVED: record {seq} of 14" in done.stdout
    assert 'Good "rootswap-checkpoint@v1" signature' in done.stdout


def test_a_record_after_the_last_checkpoint_has_no_proof_yet(site: Site) -> None:
    with pytest.raises(NotSealed, match="cannot prove record 15: the last signed checkpoint is of 14 records"):
        prove(site, 15)
    with pytest.raises(NotSealed, match="cannot prove record 0"):
        prove(site, 0)


CHANGES = {
    "the record": (b'"login":"paul"', b'"login":"eva!"'),
    "the index": (b"index 8\n", b"index 9\n"),
    "a hash of the path": (b"\n\nrootswap/", b"\n" + b"A" * 43 + b"=\n\nrootswap/"),
    "the size": (b"\n14\n", b"\n15\n"),
    "the purpose": (b"rootswap-proof@v1", b"rootswap-proof@v2"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_proof_is_refused_by_both(site: Site, change: tuple[bytes, bytes]) -> None:
    proof = prove(site, 9)
    assert change[0] in proof.format()
    changed = proof.format().replace(*change, 1)
    with pytest.raises(ProofRefused) as caught:
        Proof.parse(changed).check(site.checker)
    assert caught.value.exit_code == 4
    if change[0] != b"rootswap-proof@v1":
        assert by_base_tools(site, changed, proof.key).returncode == 1


def test_a_proof_by_a_foreign_key_is_refused(site: Site, tmp_path: Path) -> None:
    foreign, ours = filled(tmp_path), prove(site, 9)
    theirs = prove(foreign, 9)
    with pytest.raises(ProofRefused, match=r"it is signed by SHA256:.*, not by SHA256:"):
        theirs.check(site.checker, ours.key)
    assert by_base_tools(site, theirs.format(), ours.key).returncode == 1
    posing = theirs.format().replace(theirs.key.encode(), ours.key.encode())
    with pytest.raises(ProofRefused, match="the signature of its checkpoint is not good"):
        Proof.parse(posing).check(site.checker, ours.key)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.data())
def test_no_flipped_byte_goes_by(site: Site, data: st.DataObject) -> None:
    proof = prove(site, 9)
    whole = proof.format()
    end = whole.index(b"-----BEGIN")  # the signature is for ssh-keygen, elsewhere
    place = data.draw(st.integers(0, end - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    try:
        found = Proof.parse(flipped)
        found.check_tree()
    except ProofRefused:
        return
    assert (found.key, found.seal.checkpoint) != (proof.key, proof.seal.checkpoint)  # which the signature covers


@given(st.binary(max_size=200))
def test_rubbish_is_no_proof(data: bytes) -> None:
    with pytest.raises(ProofRefused):
        Proof.parse(data)


@given(st.text(max_size=60))
def test_a_text_is_a_checkpoint_only_to_the_letter(text: str) -> None:
    try:
        found = Checkpoint.parse(text)
    except ValueError:
        return
    assert found.text == text


def test_a_checkpoint_is_read_back() -> None:
    checkpoint = Checkpoint("rootswap/host-1/0000", 42, bytes(range(32)))
    assert checkpoint.text == "rootswap/host-1/0000\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    assert Checkpoint.parse(checkpoint.text) == checkpoint
    for wrong in ("42", "042", "0", "-1", "4 2", "9" * 30):
        text = checkpoint.text.replace("\n42\n", f"\n{wrong}\n")
        if wrong != "42":
            with pytest.raises(ValueError, match="number from 1 on"):
                Checkpoint.parse(text)


def test_the_documentation_shows_this_very_script() -> None:
    documented = (SCRIPT.parents[2] / "docs" / "audit.md").read_text()
    assert SCRIPT.read_text().rstrip() in documented
