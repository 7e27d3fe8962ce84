"""What was asked for on the command line of ``python -m benchmarks``."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Tools


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Parameters
    ----------
    scale
        Times the numbers of files of the issue's bounds.
    patience
        Seconds; a peer that takes longer is not run again.
    peers
        Words of which a peer's name must hold one; empty: all peers.
    instances
        Sizes of the index.
    """

    scale: float
    rounds: int
    patience: float
    tools: Tools
    peers: tuple[str, ...]
    instances: tuple[int, ...]

    def scaled(self, number: int, *, least: int = 1) -> int:
        """So many files of a corpus."""
        return max(least, round(number * self.scale))

    def wants(self, peer: str) -> bool:
        """Whether to measure a peer."""
        return not self.peers or any(word in peer for word in self.peers)

    @contextlib.contextmanager
    def folder(self, work: Path, name: str) -> Iterator[Path]:
        """A path for a corpus in a folder of its own, which goes with all that is in it."""
        own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
        try:
            yield own / "source"
        finally:
            shutil.rmtree(own)
