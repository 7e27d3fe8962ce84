"""A case: one file made of a seed by a few mutations, all drawn from (seed of the run, number of the case)."""

import random
from dataclasses import dataclass

from fuzz import blind, headers, pixels
from fuzz.dataset import SOP_INSTANCE
from fuzz.seeds import make

# In the header of every case, in names of files and of folders; and never in what the program says.
NAME, PATIENT, BIRTH = "Kanarienvogel", "KANARI4711", "19031207"
CANARIES = (NAME, PATIENT, BIRTH)
TWINS = 8  # every so many cases one is made of another one


@dataclass(frozen=True)
class Case:
    """One file, and how it came about."""

    number: int
    seed: str  # name of the seed
    syntax: str
    steps: tuple[str, ...]  # the mutations that were made, in order
    planned: int  # how many there are, with those that were left out
    data: bytes

    @property
    def name(self):
        """Name of the file in the drop folder; it sings."""
        packed = ".gz" if self.data[:2] == b"\x1f\x8b" else ""
        return f"{self.number}-{PATIENT}.dcm{packed}"


@dataclass(frozen=True)
class Source:
    """Makes the cases of one run.

    Parameters
    ----------
    corpus
        Transfer syntax -> seeds.
    seed
        Of the run: the same cases for the same corpus.
    """

    corpus: dict
    seed: int

    def make(self, number, without=frozenset()):
        """The case of a number; ``without`` leaves steps out, by their position."""
        rng = random.Random(f"{self.seed} {number}")
        one, other = self._seed(rng), self._seed(rng)
        if twin := number % TWINS == TWINS - 1 and self._twin(rng, number):
            one = twin
        parsed, steps = one.parsed.copy(), _plan(rng, one)
        if not twin:
            _identify(rng, parsed, number)
        data, taken = None, []
        for at, (kind, mutation) in enumerate([*steps, ("bytes", None)]):
            own = random.Random(f"{self.seed} {number} {at}")  # so that leaving one out changes no other
            if data is None and kind in ("blind", "bytes"):
                data = parsed.encode()
            if at in without or mutation is None:
                continue
            taken.append(f"{kind}.{mutation.__name__}")
            if kind == "header":
                mutation(own, parsed)
            elif kind == "pixels":
                mutation(own, parsed, other)
            elif data:
                data = mutation(own, data, other)
        return Case(number, one.name, one.syntax, tuple(taken), len(steps), data)

    def _twin(self, rng, number):
        """A case before it in the round, if whole, to be changed a little more: the same instance, or nearly."""
        before = self.make(number - rng.randrange(1, TWINS))
        return make(f"case {before.number}: {before.seed}", before.data)

    def _seed(self, rng):
        return rng.choice(self.corpus[rng.choice(list(self.corpus))])


def _plan(rng, seed):
    """Which mutations, in order: of elements, of pixels, of bytes; sometimes none, as a control."""
    steps = []
    if rng.random() < 0.06:
        return steps
    if rng.random() < 0.06:
        return [("header", headers.recode)]
    if rng.random() < 0.55:
        steps += [("header", rng.choice(headers.MUTATIONS)) for _ in range(rng.choice((1, 1, 2, 3)))]
    if seed.parsed.fragments and rng.random() < 0.65:
        steps += [("pixels", rng.choice(pixels.MUTATIONS)) for _ in range(rng.choice((1, 1, 1, 2)))]
    if not steps or rng.random() < 0.25:
        steps += [("blind", rng.choice(blind.MUTATIONS)) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.06:
        steps.append(("blind", blind.pack))
    if rng.random() < 0.008:
        steps.append(("blind", blind.bomb))
    return steps


def _identify(rng, parsed, number):
    """The canary's name; and a SOP Instance UID of its own, mostly: else it collides with others of its seed."""
    if not parsed.find(SOP_INSTANCE):
        return
    parsed.text(0x00100010, b"PN", f"{NAME}^{number % 50}")
    parsed.text(0x00100020, b"LO", f"{PATIENT}{number % 50}")
    parsed.text(0x00100030, b"DA", BIRTH)
    if rng.random() < 0.75:
        parsed.text(SOP_INSTANCE, b"UI", f"2.25.4711.{number}")
