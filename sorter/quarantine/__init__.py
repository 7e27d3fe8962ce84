"""The quarantine: what was refused and why, and the ways out of it: retry, export, discard."""

from sorter.quarantine.entries import Chosen, Entry, entries

__all__ = ["Chosen", "Entry", "entries"]
