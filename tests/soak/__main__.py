"""``python -m tests.soak``: the real daemon against random producers, for as long as you like."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest does

from soak.report import show
from soak.soak import Plan, Soak


def main():
    """Parse, run, report; exit status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="what producers do is drawn from it; when, is not")
    parser.add_argument("--retire", choices=("keep", "delete", "move"), default="keep")
    parser.add_argument("--producers", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder to work in; it is kept (default: a temporary one)")
    args = parser.parse_args()
    seed = random.randrange(1_000_000) if args.seed is None else args.seed
    plan = Plan(args.minutes * 60, seed, args.retire, args.producers)
    root = args.work or Path(tempfile.mkdtemp(prefix="sorter-soak-"))
    soak = Soak(plan, root.absolute())
    return show(soak, soak.run(), temporary=args.work is None)


if __name__ == "__main__":
    sys.exit(main())
