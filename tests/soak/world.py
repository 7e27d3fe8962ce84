"""The model: what was ever made, what lies in the drop folders, and what has to be true of it."""

import os
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

SETTLE = 0.4
INCOMPLETE = 3.0
RECENT = 300  # instances whose bytes are remembered, for duplicates and conflicts


@dataclass(frozen=True)
class Places:
    """The folders of one soak."""

    root: Path

    @property
    def archive(self):
        return self.root / "archive"

    @property
    def meta(self):
        return self.archive / ".sorter"

    @property
    def drops(self):
        """Two drop folders."""
        return [self.root / "incoming", self.root / "second"]

    @property
    def outside(self):
        """Where producers make what they then copy or move into the drop folders."""
        return self.root / "outside"

    def make(self):
        for folder in (*self.drops, self.outside):
            folder.mkdir(parents=True)


@dataclass
class World:
    """What all producers share; ``log`` gets a line for each thing that is wrong."""

    places: Places
    retire: str = "keep"
    contents: dict = field(default_factory=dict)  # SHA-256 of a whole file -> its Content
    streams: dict = field(default_factory=dict)  # SHA-256 of a DICOM stream -> its Content
    recent: deque = field(default_factory=lambda: deque(maxlen=RECENT))
    done: Counter = field(default_factory=Counter)  # what producers and disturbers did
    wrong: list = field(default_factory=list)
    killed_workers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def know(self, made):
        """Remember a whole instance before its bytes are written anywhere."""
        with self.lock:
            self.contents[made.sha256] = made.content
            self.streams[made.content.stream] = made.content
            if len(made.data) < 1 << 20 and made.content.stream == made.content.identity == made.sha256:
                self.recent.append(made)

    def some(self, rng):
        """A native instance that was made lately, by whomever; None at first."""
        with self.lock:
            return rng.choice(self.recent) if self.recent else None

    def count(self, what, number=1):
        with self.lock:
            self.done[what] += number

    def complain(self, *lines):
        with self.lock:
            self.wrong.extend(lines)


def files_below(folder):
    """Paths of all that is no folder, undecodable bytes as surrogate escapes."""
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
