"""Who has to agree to a change, and when changes may be made: pure decisions, taken from the configuration."""
