"""Programs that run in the guest, with the rootswap that is there."""
