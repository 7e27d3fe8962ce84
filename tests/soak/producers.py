"""Random producers: each a thread that does one thing after another, as :data:`WAYS` weighs them."""

import os
import shutil
import subprocess
import threading
import time
import traceback
from pathlib import Path

from soak.contents import other_encoding
from soak.hands import Hands
from soak.world import INCOMPLETE, SETTLE

_GONE = (FileNotFoundError, NotADirectoryError)


class Producer(Hands, threading.Thread):
    """Does one random thing after another; between two of them ``lock`` is free."""

    def __init__(self, world, number, seed, pace=0.15):
        threading.Thread.__init__(self, name=f"producer {number}", daemon=True)
        Hands.__init__(self, world, number, seed)
        self.pace = pace
        self.lock, self.stopped = threading.Lock(), threading.Event()
        replacing = world.retire == "keep"
        self._weights = {name: weight for name, (weight, keeps) in WAYS.items() if replacing or not keeps}

    def run(self):
        while not self.stopped.is_set():
            [name] = self.rng.choices(list(self._weights), self._weights.values())
            with self.lock:
                if self.stopped.is_set():
                    return
                try:
                    getattr(self, name)()
                except _GONE:
                    # A source or an emptied folder was retired meanwhile.
                    if self.world.retire == "keep":
                        self.world.complain(f"{name}: something was gone: {traceback.format_exc(limit=3)}")
                except Exception:
                    self.world.complain(f"the producer itself failed: {traceback.format_exc()}")
            self.world.count(name.replace("_", " "))
            self.stopped.wait(self.rng.expovariate(1 / self.pace))

    # -- new files ----------------------------------------------------------------------------------------

    def create(self):
        """Some files at once."""
        for _ in range(self.rng.randrange(1, 12)):
            self._write(self._path(), self._fresh())

    def create_slowly(self):
        made, path = self._fresh(), self._path()
        self._write_slowly(path, made.data, 2 * SETTLE)
        self.held[path] = made.sha256

    def create_under_another_name(self):
        made, path = self._fresh(), self._path()
        draft = path + self.rng.choice([".part", ".tmp", ".partial", ".crdownload", "~"])
        self._write_slowly(draft, made.data, SETTLE)
        os.rename(draft, path)
        self.held[path] = made.sha256

    def move_in(self):
        made, path = self._fresh(), self._path()
        os.makedirs(self._outside, exist_ok=True)
        draft = os.path.join(self._outside, "draft")
        Path(draft).write_bytes(made.data)
        os.rename(draft, path)
        self.held[path] = made.sha256

    def _tree_outside(self):
        """A folder full of instances outside; path relative to it -> digest."""
        shutil.rmtree(self._outside, ignore_errors=True)
        made = {}
        for number in range(self.rng.randrange(5, 80)):
            folder = os.path.join(self._outside, f"series {number % 3}")
            os.makedirs(folder, exist_ok=True)
            one = self._fresh()
            name = f"series {number % 3}/{number}.dcm"
            Path(self._outside, name).write_bytes(one.data)
            made[name] = one.sha256
        return made

    def copy_tree(self):
        made, target = self._tree_outside(), self._path("")
        paths = {os.path.join(target, name): digest for name, digest in made.items()}
        copied = subprocess.run(["cp", "-rp", self._outside, target], check=False, capture_output=True)
        if copied.returncode and self.world.retire == "keep":
            self.world.complain(f"cp: {copied.stderr.decode(errors='replace')}")
        elif copied.returncode:
            # It found its own folder emptied and gone: which of the files it wrote, nobody can tell.
            self.unsure |= {digest for path, digest in paths.items() if not os.path.lexists(path)}
            paths = {path: digest for path, digest in paths.items() if os.path.lexists(path)}
        self.held |= paths

    def move_tree_in(self):
        made, target = self._tree_outside(), self._path("")
        os.rename(self._outside, target)
        self.held |= {os.path.join(target, name): sha for name, sha in made.items()}

    # -- the same once more, or another -----------------------------------------------------------------

    def duplicate(self):
        """The same bytes under other names, several at once."""
        if made := self.world.some(self.rng):
            for _ in range(self.rng.randrange(1, 5)):
                self._write(self._path(), made)

    def same_instance_otherwise(self):
        """The same instance in another encoding."""
        if made := self.world.some(self.rng):
            made = other_encoding(made, self.rng)
            self.world.know(made)
            self._write(self._path(), made)

    def conflict(self):
        if made := self.world.some(self.rng):
            made = self.maker.conflicting(made)
            self.world.know(made)
            self._write(self._path(), made)

    def hard_link(self):
        if path := self._any():
            target = self._path()
            os.link(path, target)
            self.held[target] = self.held[path]

    # -- what cannot be archived ------------------------------------------------------------------------

    def junk(self):
        self._write(self._path(self.rng.choice([".dcm", "", ".png", ".txt"])), self.maker.junk())

    def truncated(self):
        """Left as it is, or completed later: before or after it has been refused."""
        made, path = self._fresh(), self._path()
        cut = self.maker.cut(made)
        self._write(path, cut)
        if self.rng.random() < 0.7:
            time.sleep(self.rng.choice([SETTLE / 2, 2 * SETTLE, INCOMPLETE * 1.3]))
            with Path(path).open("ab") as file:
                file.write(made.data[len(cut.data) :])
            self.held[path] = made.sha256

    def never_to_be_taken(self):
        """Links, pipes and ignored names; what they hold is not known, so it must not be published."""
        secret, path = self.maker.fresh(), self._path()
        way = self.rng.randrange(5)
        if way == 0:
            os.mkfifo(path)
        elif way in (1, 2):
            os.makedirs(self._outside, exist_ok=True)
            target = os.path.join(self._outside, f"secret {next(self._serial)}.dcm")
            Path(target).write_bytes(secret.data)
            os.symlink(target if way == 1 else self._outside, path)
        else:
            path = (
                path + ".tmp"
                if way == 3
                else os.path.join(os.path.dirname(path), "." + os.path.basename(path))
            )
            Path(path).write_bytes(secret.data)
        self.held[path] = ""

    def unreadable(self):
        """A file, or a folder with a file, that gets readable later."""
        self.unlock(0.5)
        made, path = self._fresh(), self._path()
        locked = path
        if self.rng.random() < 0.5:
            os.mkdir(path)
            path = os.path.join(path, "within.dcm")
        self._write(path, made)
        mode = os.lstat(locked).st_mode & 0o777
        os.chmod(locked, 0)
        self.locked[path] = (locked, mode)

    def unlock(self, share=1.0):
        """Make some or all of it readable again."""
        for path in list(self.locked):
            if self.rng.random() < share:
                locked, mode = self.locked.pop(path)
                os.chmod(locked, mode)

    # -- what lies there already ------------------------------------------------------------------------

    def rename(self):
        if path := self._any():
            target = self._path()
            os.rename(path, target)
            self.held[target] = self.held.pop(path)

    def touch(self):
        if path := self._any():
            os.utime(path)
            self.touched.add(path)

    def move_tree(self):
        """A tree that lies in a drop folder, to another name or into the other drop folder."""
        self.unlock()
        if folder := self._tree():
            target = os.path.join(self.rng.choice(self._homes), self._leaf(""))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(folder, target)
            for path in self._below(folder):
                self.held[target + path[len(folder) :]] = self.held.pop(path)

    def delete(self):
        """A file; whether it was taken before is left to chance."""
        if path := self._any():
            os.unlink(path)
            del self.held[path]

    def delete_tree(self):
        self.unlock()
        if folder := self._tree():
            shutil.rmtree(folder, ignore_errors=self.world.retire != "keep")
            for path in self._below(folder):
                del self.held[path]

    def overwrite(self):
        """A file gets other content in place: at once, or emptied first and then written slowly."""
        path = self._any()
        if path and os.lstat(path).st_nlink == 1:
            made = self._fresh()
            self.held[path] = made.sha256
            self.touched.discard(path)
            if self.rng.random() < 0.5:
                with Path(path).open("r+b", buffering=0) as file:
                    file.write(made.data)
                    file.truncate()
            else:
                os.truncate(path, 0)
                self._write_slowly(path, made.data, 1.5 * SETTLE)

    def replace(self):
        """A file is replaced by a rename, as rsync and editors do."""
        if path := self._any():
            made = self._fresh()
            draft = os.path.join(os.path.dirname(path), f".{next(self._serial)}.draft")
            with Path(draft).open("xb") as file:
                file.write(made.data)
            os.rename(draft, path)
            self.held[path] = made.sha256

    def prune(self, most):
        """Delete trees until no more files are held than this."""
        with self.lock:
            while len(self.held) > most and self._tree():
                self.delete_tree()


# Name -> how often, and whether it changes what a name holds. Where sources are retired the kernel has no
# call that tells a source from one that was put in its place an instant ago: there no producer does that.
WAYS = {
    "create": (20, False),
    "create_slowly": (8, False),
    "create_under_another_name": (6, False),
    "move_in": (6, False),
    "copy_tree": (3, False),
    "move_tree_in": (3, False),
    "duplicate": (6, False),
    "same_instance_otherwise": (5, False),
    "conflict": (5, False),
    "hard_link": (2, False),
    "junk": (6, False),
    "truncated": (6, False),
    "never_to_be_taken": (4, False),
    "unreadable": (4, False),
    "rename": (6, False),
    "touch": (3, False),
    "move_tree": (3, False),
    "delete": (4, False),
    "delete_tree": (1, False),
    "overwrite": (5, True),
    "replace": (5, True),
}
