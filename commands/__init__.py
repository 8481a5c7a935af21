"""The write side: plan a change of the host, make it, take it back."""

__version__ = "0.1.0"
