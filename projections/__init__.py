"""The read side: views that are folded from the ledger and can be dropped and rebuilt."""
