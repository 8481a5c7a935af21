"""Settling what a crash, a kill or a power cut has left open."""
