"""How far a verification came, noted in the archive, so that an interrupted one can go on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from sorter.organizer.lease import META
from sorter.verification.report import Options

STATE = f"{META}/verify.json"


class Reached(NamedTuple):
    """Where a verification is.

    Parameters
    ----------
    after, upto
        Numbers of the instance that was looked at last, and of the last there was when it began.
    done
        How many instances were looked at.
    """

    options: Options
    after: int
    upto: int
    done: int


def resumable(root: Path) -> Reached | None:
    """How far the verification of an archive came that was interrupted; ``None`` where none was."""
    try:
        state = json.loads((root / STATE).read_text(encoding="utf-8"))
        return Reached(
            Options(**state["options"]), int(state["after"]), int(state["upto"]), int(state["done"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or half written: then it begins anew


def note(root: Path, reached: Reached) -> None:
    """Replace the note of an archive; raises OSError."""
    path = root / STATE
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(reached._asdict() | {"options": asdict(reached.options)}), encoding="utf-8")
    draft.replace(path)


def forget(root: Path) -> None:
    """It came to its end; raises OSError."""
    (root / STATE).unlink(missing_ok=True)
