"""What ends the process. Trouble with one source is a value; trouble with the archive is one of these."""

from __future__ import annotations


class SorterError(Exception):
    """Base of all. Messages name files of the archive and the configuration, never patient data."""

    exit_code = 2


class ConfigError(SorterError):
    """The configuration cannot be used: says which key, where it was set, and what to write instead."""

    exit_code = 2


class IndexUnusableError(SorterError):
    """The index cannot be opened or trusted; never repaired silently."""

    exit_code = 3


class IndexBusyError(IndexUnusableError):
    """Somebody else holds the index; trying again later may do."""

    exit_code = 3


class SchemaTooNewError(IndexUnusableError):
    """The index was written by a newer sorter."""

    exit_code = 3


class ArchiveError(SorterError):
    """The archive cannot be written as promised (I/O error, read-only, planted symlink)."""

    exit_code = 4


class ArchiveFullError(ArchiveError):
    """No space, no quota, or below the free-space floor."""

    exit_code = 5


class AlreadyRunningError(SorterError):
    """Another sorter daemon already serves this archive."""

    exit_code = 6


class WorkersError(SorterError):
    """The worker processes cannot be started or keep dying."""

    exit_code = 7
