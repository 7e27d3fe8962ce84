"""``python asking.py CONFIG`` answers each line on stdin with what ``sorter status`` shows, and its seconds.

A process that stays: what it measures is the answer, not the start of Python on a busy machine.
"""

import json
import sys
import time
from pathlib import Path

from sorter.cli.status import gather
from sorter.config import load


def main(path):
    """Answer until stdin ends."""
    config = load(file=path, environ={})
    for _ in sys.stdin:
        began = time.monotonic()
        facts = gather(config)
        print(json.dumps({"seconds": time.monotonic() - began, "facts": facts}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
