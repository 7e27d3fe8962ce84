"""One file, asked about: what the line does with it, and whether it is taken at all."""

from __future__ import annotations

import os
from pathlib import Path

from sorter.config import Config
from sorter.errors import ConfigError
from sorter.explain.explained import Explained
from sorter.explain.line import rehearse
from sorter.explain.taken import ask_ledger, ask_rules, retirement
from sorter.index import Index
from sorter.index.still import StillIndex
from sorter.model import Candidate, Refused
from sorter.observer.listing import look
from sorter.rehearsal import Rehearsal


def explain(config: Config, path: Path) -> Explained:
    """Tell what is known of one file, anywhere. Writes nothing below the archive and the drop folders.

    Raises
    ------
    ConfigError
        There is no such file. (It is not named: people write patients' names into file names.)
    IndexUnusableError
        The index cannot be read.
    """
    name = os.path.abspath(path)
    root = next((str(one) for one in config.incoming if name.startswith(f"{one}/")), "")
    found = look(name, root)
    if found is None:
        raise ConfigError("there is no such file")
    if os.path.isdir(name) and not os.path.islink(name):
        raise ConfigError("this is a folder: name one file")
    candidate = found if isinstance(found, Candidate) else found.candidate
    told = Explained(name, candidate.size, root)
    if isinstance(found, Refused):
        told.decide(found.kind, found.reason, found.detail)
        told.retire = retirement(config, told)
        return told
    intake = _Looking(config)
    with intake:
        rehearse(intake, candidate, told)
        ask_ledger(intake.index, candidate, told)
    ask_rules(config, candidate, told)
    told.retire = retirement(config, told)
    return told


class _Looking(Rehearsal):
    """A dry run of one file, which asks the index itself and not a copy."""

    def _open_index(self) -> Index:
        found = StillIndex.look_at(self.config.index_location)
        return found or StillIndex.open(self._scratch / "index.sqlite")
