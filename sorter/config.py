"""Configuration: defaults, then the TOML file, then ``SORTER_*`` variables, then flags; one frozen Config.

Every option is a key of the TOML file, a variable ``SORTER_<KEY>`` and, where it makes sense, a flag. The
Config is passed as a parameter, never kept in a global.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sorter.errors import ConfigError

SYSTEM_CONFIG = Path("/etc/sorter/sorter.toml")
Family = Literal["jpeg2000", "htj2k", "jpeg", "jpegls", "rle", "deflate"]
FAMILIES: tuple[Family, ...] = ("jpeg2000", "htj2k", "jpeg", "jpegls", "rle", "deflate")
Event = Literal["receipt", "series_complete", "refused", "verification", "trouble"]
DEFAULT_IGNORE = (".*", "*.part", "*.partial", "*.tmp", "*~", "*.crdownload")
# Keys that hold several values, and what separates them in an environment variable.
_LISTS = {"incoming": os.pathsep, "ignore": ",", "decompress": ",", "convert": ",", "pictures": os.pathsep}
_NOT_OPTIONS = ("SORTER_CONFIG", "SORTER_TEST_DATA")
# Kubernetes tells each container of every service near it: here of one that is named "sorter".
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES = re.compile(r"SORTER_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


class Hook(BaseModel):
    """Who is told of events: a command, or a webhook."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: tuple[Event, ...] = Field(min_length=1)
    command: tuple[str, ...] = ()
    url: str = Field("", pattern=r"^(https?://.+)?$")
    secret_file: Path | None = None
    timeout_seconds: float = Field(10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _one_way(self) -> Hook:
        if bool(self.command) == bool(self.url):
            raise ValueError("a hook has either a command or a url")
        if self.secret_file and not self.url:
            raise ValueError("secret_file signs webhooks: it needs a url")
        return self


class Config(BaseModel):
    """Every option with its default. ``config/sorter.toml`` explains each to users."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    incoming: tuple[Path, ...] = (Path("incoming"),)
    archive: Path = Path("archive")
    index: str = ""
    template: str = "descriptive"

    settle_seconds: float = Field(2.0, ge=0, le=3600)
    walk_seconds: float = Field(30.0, gt=0, le=86400)
    incomplete_seconds: float = Field(300.0, ge=0)
    watch: Literal["auto", "events", "poll", "scan"] = "auto"
    ignore: tuple[str, ...] = DEFAULT_IGNORE

    retire: Literal["keep", "delete", "move"] = "keep"
    retire_to: Path | None = None

    decompress: tuple[Family, ...] = FAMILIES

    unpack: bool = True
    convert: tuple[Literal["nifti"], ...] = ("nifti",)
    pictures: tuple[Path, ...] = ()
    namespace: str = ""
    facts: dict[str, str] = Field(default_factory=dict)

    workers: int = Field(0, ge=0, le=256)
    worker_memory_mb: int = Field(1024, ge=128)
    worker_seconds: float = Field(120.0, gt=0)
    min_free_mb: int = Field(256, ge=0)

    verify_interval: float = Field(30.0, ge=0)

    complete_seconds: float = Field(60.0, ge=0)
    receipts: Path | None = None
    hooks: tuple[Hook, ...] = ()
    audit_log: Path | None = None

    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("incoming", "pictures", "archive", "retire_to", "receipts", "audit_log", mode="after")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        # Absolute, but links are kept: an administrator may point the drop folder elsewhere later.
        if isinstance(value, tuple):
            return tuple(Path(os.path.abspath(p)) for p in value)
        return None if value is None else Path(os.path.abspath(value))

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for root in self.incoming:
            if root == self.archive or self.archive in root.parents:
                raise ValueError(f"incoming {root} lies inside the archive {self.archive}")
        for root in self.incoming:
            if any(root in other.parents for other in self.incoming):
                raise ValueError(
                    f"incoming {root} holds another drop folder: it is watched with all below it"
                )
            if self.retire_to and (self.retire_to == root or self.retire_to in root.parents):
                raise ValueError(f"retire_to {self.retire_to} is or holds the drop folder {root}")
        if not self.incoming:
            raise ValueError("incoming names no folder")
        if self.retire_to and (self.retire_to == self.archive or self.archive in self.retire_to.parents):
            raise ValueError(f"retire_to {self.retire_to} lies inside the archive {self.archive}")
        if self.receipts and any(root in (self.receipts, *self.receipts.parents) for root in self.incoming):
            raise ValueError(f"receipts {self.receipts} lies inside a drop folder")
        if len(set(self.incoming)) != len(self.incoming):
            raise ValueError("incoming names the same folder twice")
        return self

    @property
    def index_location(self) -> str | Path:
        """SQLAlchemy URL of the index, or by default the file ``<archive>/.sorter/index.sqlite``."""
        return self.index or self.archive / ".sorter" / "index.sqlite"

    @property
    def worker_count(self) -> int:
        """Worker processes; 0 in the configuration means one a core that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


def load(
    *,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Build the Config.

    Parameters
    ----------
    file
        The ``--config`` file. Without it ``SORTER_CONFIG`` names one (empty: none), else
        ``/etc/sorter/sorter.toml`` is read where it exists.
    flags
        Values from the command line by key; ``None`` means not given.
    environ
        The environment.

    Raises
    ------
    ConfigError
        Names the key, where it was set and, for an unknown key, the nearest known one.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers = (
        _from_file(file, environ),
        ((key, value, f"variable SORTER_{key.upper()}") for key, value in _from_environment(environ)),
        ((k, v, f"flag --{k.replace('_', '-')}") for k, v in (flags or {}).items() if v is not None),
    )
    for layer in layers:
        for key, value, where in layer:
            if key not in Config.model_fields:
                raise ConfigError(_unknown(key, where))
            values[key], origin[key] = value, where
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item, origin) for item in error.errors())) from None


def _from_file(file: Path | None, environ: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    path = file
    if path is None:
        named = environ.get("SORTER_CONFIG")
        path = (Path(named) if named else None) if named is not None else SYSTEM_CONFIG
        if path is None or (named is None and not path.exists()):
            return []
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} is not valid TOML: {error}") from None
    return [(key, value, str(path)) for key, value in table.items()]


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, text in environ.items():
        if not name.startswith("SORTER_") or name in _NOT_OPTIONS or _KUBERNETES.match(name):
            continue
        key = name.removeprefix("SORTER_").lower()
        separator = _LISTS.get(key)
        found.append(
            (key, [part.strip() for part in text.split(separator) if part.strip()] if separator else text)
        )
    return found


def _unknown(key: str, where: str) -> str:
    nearest = difflib.get_close_matches(key, Config.model_fields, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; known keys: {', '.join(Config.model_fields)}"
    return f"unknown key {key!r} ({where}){hint}"


def _explain(item: Any, origin: Mapping[str, str]) -> str:
    key = str(item["loc"][0]) if item["loc"] else ""
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key} ({origin.get(key, 'default')}): {message}" if key else message
