"""The hands of a producer: how it names and writes files, and what it remembers of them."""

import os
import random
import time
from itertools import count
from pathlib import Path

from soak.contents import Maker, other_encoding

ODD = [
    os.fsdecode(b"\xff\xfe\x80"), "new\nline", "-rf", "a b ", "\u202egnp", "\U0001f9e0", "A\u030a", "\u00c5",
    "con", "%s$(x)`y`", os.fsdecode(b"caf\xe9"), "x" * 200, "\uef80", "'\"",
]  # fmt: skip


class Hands:
    """A folder in each drop folder, in which nobody else writes.

    What is left there is remembered by path in ``held``: the SHA-256 of the file, or "" for what must never
    be taken (links, pipes, names that are ignored).
    """

    def __init__(self, world, number, seed):
        self.world = world
        self.rng = random.Random(f"{seed}/{number}")
        self.maker = Maker(number, self.rng)
        self.held = {}
        self.unsure = set()  # digests of files of which it is not known whether they were ever written
        self.touched = set()  # paths whose times were changed, and nothing else
        self.locked = {}  # path -> mode that it gets back
        self._serial = count()
        self._homes = [str(drop / f"producer {number}") for drop in world.places.drops]
        self._outside = str(world.places.outside / str(number))

    # -- names ------------------------------------------------------------------------------------------

    def _folder(self):
        """A folder in one of the drop folders, shallow or very deep; it is there."""
        home = self.rng.choice(self._homes)
        way = self.rng.random()
        if way < 0.1:
            parts = [f"level {n} {'d' * self.rng.randrange(60)}" for n in range(self.rng.randrange(5, 25))]
        elif way < 0.2:
            parts = [self.rng.choice(ODD) + f" {self.rng.randrange(5)}"]
        else:
            parts = [f"tree {self.rng.randrange(8)}", f"{self.rng.randrange(4)}"][: self.rng.randrange(3)]
        folder = os.path.join(home, *parts)
        os.makedirs(folder, exist_ok=True)
        return folder

    def _leaf(self, suffix=".dcm"):
        odd = self.rng.choice(ODD) if self.rng.random() < 0.1 else ""
        return f"{odd}{next(self._serial)}{suffix}"

    def _path(self, suffix=".dcm"):
        return os.path.join(self._folder(), self._leaf(suffix))

    def _any(self):
        """A path that is held and is a plain file that may be touched; None where there is none."""
        paths = [path for path, digest in self.held.items() if digest and path not in self.locked]
        return self.rng.choice(paths) if paths else None

    def _tree(self):
        """A folder that this producer holds files in, below its own."""
        folders = {os.path.dirname(path) for path in self.held} - set(self._homes)
        folders -= {os.path.dirname(path) for path in self.locked}
        return self.rng.choice(sorted(folders)) if folders else None

    def _below(self, folder):
        return [path for path in self.held if path.startswith(folder + "/")]

    # -- bytes ------------------------------------------------------------------------------------------

    def _fresh(self):
        """A whole instance: mostly new and native, sometimes encapsulated, gzipped or large."""
        made = self.maker.large() if self.rng.random() < 0.002 else self.maker.fresh()
        if self.rng.random() < 0.2 and len(made.data) < 1 << 20:
            made = other_encoding(made, self.rng)
        self.world.know(made)
        return made

    def _write(self, path, made):
        with Path(path).open("xb") as file:
            self.held[path] = made.sha256
            file.write(made.data)

    def _write_slowly(self, path, data, longest):
        """In up to five pieces, through one descriptor or several."""
        cuts = sorted(self.rng.sample(range(1, len(data)), min(len(data) - 1, self.rng.randrange(1, 5))))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        with Path(path).open("ab", buffering=0) as kept_open:
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(self.rng.uniform(0, longest))
                if self.rng.random() < 0.7:
                    kept_open.write(piece)
                else:
                    with Path(path).open("ab") as file:
                        file.write(piece)
