"""The evidence for some transactions: a zip that proves itself with sha256sum and ssh-keygen, without us.

Every record is there as the exact bytes that were hashed, each with the proof that it is under one signed checkpoint,
and once more for people, as a page. The same records under the same checkpoint give the same bytes.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ledger.checkpoint import CHECKPOINT_NAMESPACE, Seal, fingerprint
from ledger.proof import Proof
from projections.history import Story
from projections.pages.markup import Markup, element, joined, page, text, words
from projections.pages.parts import Column, facts, length, state_word, table
from projections.questions import Cell, Row
from projections.report import Frame
from projections.timeline import LogLine

#: What a zip can tell of time, in a zip that tells none.
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_README = "README.md"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A transaction with its records in words, and a proof of each."""

    story: Story
    log: tuple[LogLine, ...]
    proofs: tuple[Proof, ...]


def pack(exhibits: Sequence[Exhibit], frame: Frame) -> bytes:
    """The zip. All proofs must be under the same seal."""
    contents = _contents(exhibits, frame)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items()))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in sorted({**contents, "SHA256SUMS": sums.encode()}.items()):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            whole.writestr(entry, data)
    return held.getvalue()


def _contents(exhibits: Sequence[Exhibit], frame: Frame) -> Mapping[str, bytes]:
    first = exhibits[0].proofs[0]
    seal, key = first.seal, first.key
    found = {
        _README: _readme(exhibits, seal, key).encode(),
        "index.html": evidence_page(exhibits, frame).encode(),
        "checkpoint": seal.checkpoint.text.encode(),
        "checkpoint.sig": seal.signature.encode(),
        "claimed-key.pub": f"{key} rootswap\n".encode(),
        "allowed_signers": f'rootswap namespaces="{CHECKPOINT_NAMESPACE}" {key}\n'.encode(),
        "check-proof.sh": files("projections.pages").joinpath("check-proof.sh").read_bytes(),
    }
    for exhibit in exhibits:
        for proof in exhibit.proofs:
            name = f"{exhibit.story.line.transaction_id}/{proof.index + 1:012d}"
            found[f"{name}.json"] = proof.record
            found[f"{name}.proof"] = proof.format()
    return found


def _readme(exhibits: Sequence[Exhibit], seal: Seal, key: str) -> str:
    listed = "".join(
        f"- `{one.story.line.transaction_id}/`: {one.story.line.kind} of {one.story.line.target}, "
        f"{one.story.line.state}, {len(one.proofs)} records\n"
        for one in exhibits
    )
    origin, size, root = seal.checkpoint.text.splitlines()
    return f"""# Evidence

Records of the rootswap ledger `{origin}`:

{listed}
`index.html` is the same for reading. Each `NUMBER.json` is a record, byte for byte as it was written and hashed; each
`NUMBER.proof` proves that this record was number NUMBER of the ledger when the `checkpoint` was signed. The checkpoint
is of {size} records with the root `{root}`.

## How to check it

With coreutils and OpenSSH; rootswap is not needed. **Compare `claimed-key.pub` with the key that you have from
elsewhere**, or use that one instead: a zip can prove itself with a key of its own. The fingerprint of the claimed one
is `{fingerprint(key)}`.

    sha256sum -c SHA256SUMS
    ssh-keygen -Y verify -f allowed_signers -I rootswap -n {CHECKPOINT_NAMESPACE} -s checkpoint.sig < checkpoint
    for proof in */*.proof; do
        bash check-proof.sh "$proof" claimed-key.pub || break
        sed -n '3s/^record //p' "$proof" | tr -d '\\n' | cmp - "${{proof%.proof}}.json" || break
    done

The first says that the zip is whole, the second that the checkpoint was signed, the third that each record leads to its
root, and that the record in the proof is the one that lies beside it.

## What it does not prove

That what was recorded is what happened, or that the clock of the host was right. Who has root on the host has the key
as well, and can sign a false history: against that helps only a checkpoint that was kept elsewhere (`docs/audit.md`).
"""


# --- the page ---------------------------------------------------------------------------------------------------------


def evidence_page(exhibits: Sequence[Exhibit], frame: Frame) -> str:
    """The records for reading."""
    title = f"Evidence: {', '.join(one.story.line.transaction_id for one in exhibits[:5])}"
    title += f" and {len(exhibits) - 5} more" if len(exhibits) > 5 else ""
    return page(
        title,
        element(
            "main",
            element("header", words("h1", title), words("p", f"Times are {frame.zone}.", class_="soft")),
            _proved(exhibits),
            *(_exhibit(one, frame) for one in exhibits),
        ),
    )


def _proved(exhibits: Sequence[Exhibit]) -> Markup:
    first = exhibits[0].proofs[0]
    origin, size, root = first.seal.checkpoint.text.splitlines()
    count = sum(len(one.proofs) for one in exhibits)
    return element(
        "section",
        element("p", words("b", f"{count} records, each with its proof under the checkpoint of {size} records")),
        facts(
            (
                ("ledger", origin),
                ("root", root),
                ("signed by", f"{fingerprint(first.key)}, by its own word: compare it with the key kept elsewhere"),
                ("how to check", "README.md beside this page; this page itself proves nothing"),
            )
        ),
        class_="card banner",
    )


def _exhibit(one: Exhibit, frame: Frame) -> Markup:
    line, when = one.story.line, frame.when
    releases = None
    if line.from_release or line.to_release:
        releases = f"{line.from_release or 'nothing'} → {line.to_release or 'nothing'}"
    login = "" if line.login_uid is None else f", login uid {line.login_uid}"
    told = facts(
        (
            ("change", releases),
            ("begun", f"{when(line.begun_at)} by {line.login} (uid {line.uid}{login}): {line.invoked}"),
            ("ended", when(line.ended_at) if line.ended_at else None),
            ("took", length(line.duration_ns) if line.duration_ns is not None else None),
            ("downtime", length(line.downtime_ns) if line.downtime_ns is not None else None),
            ("reason", line.reason),
            ("ticket", line.ticket),
            ("approved by", line.approved_by),
            ("cause", line.cause),
        )
    )
    heading = element(
        "h2",
        text(f"{line.kind} of {line.target} "),
        words("code", line.transaction_id),
        text(" "),
        state_word(line.state),
    )
    return joined(heading, element("section", told, class_="card"), element("div", _records(one, frame), class_="card"))


def _records(one: Exhibit, frame: Frame) -> Markup:
    rows: list[Row] = []
    for entry, proof in zip(one.log, one.proofs, strict=True):
        digest = hashlib.sha256(proof.record).hexdigest()
        rows.append(
            {
                "record": entry.seq,
                "time": frame.when(entry.at),
                "who": entry.login,
                "what": entry.what,
                "outcome": entry.outcome,
                "took": None if entry.duration_ns is None else length(entry.duration_ns),
                "detail": entry.detail,
                "sha256": f"{digest[:16]}…",
            }
        )
    columns = [Column(name, _cell(name), is_number=name in ("record", "took")) for name in (rows[0] if rows else ())]
    return table(rows, columns, "no records")


def _cell(name: str) -> Callable[[Row], Cell]:
    return lambda row: row[name]
