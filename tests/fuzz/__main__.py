"""``python -m tests.fuzz``: damaged files in every transfer syntax against the real program, while you like.

Each case is drawn from the seed of the run and its own number, so each can be made again. Rounds of the rescan
and of the daemon take turns. Afterwards it is checked that all is told, nothing lost, and nothing wrong published.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does

from fuzz.cases import Source
from fuzz.fuzz import MODES, Fuzz
from fuzz.round import Limits
from fuzz.seeds import corpus


def numbers(text):
    """``3,5,10-12`` as numbers."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main():
    """Parse, run, report; exit status 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--seed", type=int, help="the same cases for the same seed and data; default: a random one"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="real files to mutate too, with a census.csv; default: SORTER_TEST_DATA, if set",
    )
    parser.add_argument("--cases", type=numbers, help="only these, by number: 3,5,10-12")
    parser.add_argument("--work", type=Path, help="folder to work in; it is kept (default: a temporary one)")
    args = parser.parse_args()
    seed = random.randrange(1_000_000) if args.seed is None else args.seed
    data = args.data or os.environ.get("SORTER_TEST_DATA")
    root = (args.work or Path(tempfile.mkdtemp(prefix="sorter-fuzz-"))).absolute()
    print(f"seed {seed}, real files {data or 'none'}, in {root}", flush=True)
    with Fuzz(Source(corpus(data), seed), root, Limits(), lambda line: print(line, flush=True)) as fuzz:
        if args.cases:
            for mode in MODES:
                fuzz.take(args.cases, mode)
        else:
            fuzz.for_seconds(args.minutes * 60)
        print(*fuzz.report(), sep="\n")
    if not fuzz.faults and args.work is None:
        shutil.rmtree(root)
    elif fuzz.faults:
        print(f"python -m tests.fuzz --seed {seed}" + (f" --data {data}" if data else ""))
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    sys.exit(main())
