"""The log: what was intended, what happened, in order, for ever."""
