"""The daemon's status file, ``<archive>/.sorter/status.json``: written by it, read by ``sorter status``.

A file and not a socket: it works across users and containers, can be read with ``cat``, and shows the last
state of a daemon that has died. It holds no paths and no patient data; sources appear as short hashes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sorter.organizer.lease import META


def write(root: Path, state: dict[str, Any]) -> None:
    """Replace the status file in one step. Not synced: it describes a process, not data."""
    path = root / META / "status.json"
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def read(root: Path) -> dict[str, Any] | None:
    """The last written state, or ``None`` where no daemon ever ran."""
    try:
        text = (root / META / "status.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        state: dict[str, Any] = json.loads(text)
    except ValueError:
        return None  # not synced, so a power cut may empty it; it says nothing then
    return state
