"""Makes the proof of one record, in a logarithm of look-ups."""

import sqlite3

from ledger import merkle, seals
from ledger.errors import NotSealed
from ledger.proof import Proof
from ledger.rows import damaged, select
from ledger.seals import seal_damaged
from ledger.tree import stored_nodes


def prove(connection: sqlite3.Connection, seq: int) -> Proof:
    """The proof that record ``seq`` is in the ledger as it was last signed; raises NotSealed."""
    seal = seals.last_seal(connection)
    sealed = 0 if seal is None else seal.checkpoint.size
    if seal is None or not 1 <= seq <= sealed:
        raise NotSealed(
            f"cannot prove record {seq}: the last signed checkpoint is of {sealed} records",
            remedy="run `rootswap audit checkpoint` first" if seq > sealed else "records are numbered from 1",
        )
    key = seals.key_in_force(connection, sealed)
    if key is None:
        raise seal_damaged(sealed, "the ledger names no key that could have signed it")
    rows = select(connection, "WHERE seq = ?", (seq,))
    if not rows:
        raise damaged(seq, "it is missing")
    path = merkle.inclusion_proof(stored_nodes(connection), seq - 1, sealed)
    proof = Proof(seq - 1, rows[0].record, path, seal, key)
    if merkle.root_from_inclusion(merkle.leaf_hash(proof.record), seq - 1, sealed, path) != seal.checkpoint.root:
        raise seal_damaged(sealed, f"record {seq} is not in its tree; run `rootswap audit verify`")
    return proof
