"""One suite for each Protocol, run against every driver that claims to follow it."""
