"""``audit verify``, ``checkpoint``, ``prove``, ``check-proof`` and ``rotate-key``: the ledger, proved to others."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import kept, options
from commands.cli.output import Format, note, paint, show
from commands.errors import UsageError

if TYPE_CHECKING:
    from commands.config import Config
    from commands.transactions.sealing import Sealer
    from ledger.reader import LedgerReader
    from ledger.verify import VerifyReport

KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="FILE", help="The public key as you keep it elsewhere (a .pub file).")
]


def verify(
    ctx: typer.Context,
    sealed_by: Annotated[
        list[str] | None,
        typer.Option("--checkpoint", metavar="FILE", help="A signed checkpoint kept elsewhere; FILE.sig beside it."),
    ] = None,
    since: Annotated[
        list[str] | None,
        typer.Option("--since", metavar="FILE", help="An older checkpoint that you trust for where you kept it."),
    ] = None,
    key: KeyOption = None,
    every_signature: Annotated[
        bool, typer.Option("--every-signature", help="Check the signatures of all checkpoints, not of the last ones.")
    ] = False,
    output: options.OutputOption = Format.TABLE,
) -> None:
    """Recompute the whole ledger and hold it against its signed checkpoints.

    Hashes, links, columns, triggers, tree and signatures; exit code 4, and the first bad record, if anything is wrong.

    Example: rootswap audit verify --since /mnt/auditor/000000000420.checkpoint --key /mnt/auditor/key.pub
    """
    from commands.cli.reading import open_ledger
    from commands.cli.verified import remembered
    from commands.drivers.host import LocalHost
    from commands.drivers.signing import SshChecker
    from ledger.vouch import Evidence

    config = options.read_config(ctx)
    with open_ledger(config) as reader, remembered(config) as reports:
        evidence = Evidence(
            checker=SshChecker(LocalHost()),
            seals=tuple(kept.seal(file) for file in sealed_by or ()),
            checkpoints=(*map(kept.checkpoint, since or ()), *kept.signed_last(config)),
            pinned=None if key is None else kept.public(key),
            every_signature=every_signature,
        )
        report = reader.verify(evidence)
        reports.append(report)
    is_remembered = bool(since or sealed_by) or kept.is_remembered(config, report)
    data = {**_report_data(report), "remembered": is_remembered}
    show(output, data, _report_text(report, is_pinned=key is not None))
    if not is_remembered:
        note(
            "warning: nothing beside the ledger tells how far it went (keys/*.signed is not there), so it may be an "
            "older copy of itself; hold it against a checkpoint kept elsewhere, with --since"
        )


def checkpoint(
    ctx: typer.Context,
    copy: Annotated[
        str | None, typer.Option("--copy", metavar="DIRECTORY", help="Write checkpoint, signature and key there too.")
    ] = None,
    output: options.OutputOption = Format.TABLE,
) -> None:
    """Sign a checkpoint of the ledger as it is now, and copy it to the configured sinks.

    Example: rootswap audit checkpoint --copy /mnt/auditor
    """
    from commands.cli.transact import at_work
    from commands.drivers.host import LocalHost
    from commands.drivers.sinks import DirectorySink
    from commands.errors import Refused

    with at_work(ctx, begins=False) as work:
        sealed = _sealer(work.session.sealer).seal()
        key = work.session.ledger.seals.key()
    if sealed.seal is None or key is None:
        raise Refused(sealed.warning or "cannot seal the ledger", remedy="run `rootswap audit rotate-key`")
    if sealed.warning is not None:
        raise Refused(sealed.warning, remedy="mend it, then run it again")
    if copy is not None:
        DirectorySink("copy", True, LocalHost(), copy).deliver(sealed.seal, key)
    text = sealed.seal.checkpoint.text
    show(output, {"checkpoint": text, "signature": sealed.seal.signature, "key": key}, text)


def prove(
    ctx: typer.Context,
    seq: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The number of the record, as in `audit log`.")],
    file: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it; else to stdout.")
    ] = None,
) -> None:
    """Write a proof that a record is in the ledger, which can be checked without the ledger and without rootswap.

    Example: rootswap audit prove 41 --output 41.proof
    """
    from commands.cli.reading import open_ledger
    from commands.drivers.host import LocalHost

    if file in set(Format):
        raise UsageError(
            f"cannot write the proof as {file}: -o names a file here, and a proof has one format",
            remedy=f"leave it out for stdout, or write -o ./{file} for a file of that name",
        )
    with open_ledger(options.read_config(ctx)) as reader:
        proof = reader.prove(seq)
    if file is None:
        sys.stdout.buffer.write(proof.format())
        sys.stdout.buffer.flush()
        return
    LocalHost().write(_absolute(file), proof.format(), 0o644)
    note(f"{file}: record {seq} under the checkpoint of {proof.seal.checkpoint.size} records")


def check_proof(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `audit prove` has written.")],
    key: KeyOption = None,
    output: options.OutputOption = Format.TABLE,
) -> None:
    """Check a proof. Needs no ledger and no configuration; exit code 4 if it does not prove what it says.

    Example: rootswap audit check-proof 41.proof --key key.pub
    """
    from commands.drivers.host import LocalHost
    from commands.drivers.signing import SshChecker
    from ledger.checkpoint import fingerprint
    from ledger.proof import Proof

    host = LocalHost()
    proof = Proof.parse(kept.content(file))
    record = proof.check(SshChecker(host), None if key is None else kept.public(key))
    sealed = proof.seal.checkpoint
    said = f"proved: record {record.seq} of {sealed.size} in {sealed.origin}\n"
    said += f"  {record.at}  {record.actor.login}  {record.type}  {record.target or '-'}\n"
    said += f"signed by {fingerprint(proof.key)}{_to_compare(is_pinned=key is not None)}"
    data = {
        "seq": record.seq,
        "type": record.type,
        "at": record.at,
        "origin": sealed.origin,
        "size": sealed.size,
        "key": proof.key,
        "record": record.model_dump(mode="json"),
    }
    show(output, data, said)


def rotate_key(
    ctx: typer.Context,
    private_key: Annotated[
        str | None,
        typer.Option(
            "--private-key", metavar="FILE", help="Use this one, or the handle of a hardware key; FILE.pub beside it."
        ),
    ] = None,
    output: options.OutputOption = Format.TABLE,
) -> None:
    """Sign with a new key from now on; the old key signs the new one.

    Keep the new public key elsewhere.

    Example: rootswap audit rotate-key
    """
    from commands.cli.transact import at_work
    from ledger.checkpoint import fingerprint

    with at_work(ctx, begins=False) as work:
        sealer = _sealer(work.session.sealer)
        key = sealer.rotate(None if private_key is None else _absolute(private_key))
        warning = sealer.seal().warning
    if warning is not None:
        note(f"rootswap: {warning}")
    show(output, {"key": key, "fingerprint": fingerprint(key), "warning": warning}, f"{key}\n{fingerprint(key)}")


# --- what they have in common -----------------------------------------------------------------------------------------


def _sealer(found: "Sealer | None") -> "Sealer":
    if found is None:
        raise AssertionError("a session on this machine seals")
    return found


def report_on(config: "Config", reader: "LedgerReader") -> "VerifyReport":
    """The report on a ledger that is held against what this host knows. Raises LedgerDamaged."""
    from commands.cli.verified import remembered
    from commands.drivers.host import LocalHost
    from commands.drivers.signing import SshChecker
    from ledger.vouch import Evidence

    with remembered(config) as reports:
        report = reader.verify(Evidence(checker=SshChecker(LocalHost()), checkpoints=kept.signed_last(config)))
        reports.append(report)
    return report


def _report_data(report: "VerifyReport") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(report)


def _report_text(report: "VerifyReport", *, is_pinned: bool) -> str:
    from ledger.checkpoint import fingerprint

    vouched = report.vouched
    if vouched is None:
        raise AssertionError("evidence was given")
    tail = f", tail {vouched.tail}" + (" (not signed yet)" if vouched.tail else "")
    lines = [
        paint(f"the ledger is sound: sealed to {vouched.sealed}{tail}", "green", sys.stdout),
        f"records {report.records}, transactions {report.transactions} ({report.open_transactions} open)",
        f"checkpoints {vouched.seals}, signatures checked {vouched.signatures}",
        f"signed by {fingerprint(vouched.key)}{_to_compare(is_pinned=is_pinned)}",
    ]
    if report.unknown:
        lines.append(f"{report.unknown} records are of a newer version: their place is proved, their meaning unknown")
    return "\n".join(lines)


def _to_compare(*, is_pinned: bool) -> str:
    return "" if is_pinned else ", by its own word: compare it with the key that you keep elsewhere, or give --key"


def _absolute(file: str) -> str:
    import os

    return os.path.abspath(file)
