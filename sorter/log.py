"""Logging: structlog to stderr, with an allow-list of keys, so that no patient data can slip in.

A log line names an event and carries only keys of :data:`ALLOWED`. Sources appear as a short hash
(:func:`source_id`), never by path: people write patient names into file names. Exceptions appear as their
classes and code positions, never with their text: libraries quote values there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:  # it costs 40 ms, which a worker that has nothing to say need not pay
    import structlog

ALLOWED = frozenset(
    """
    event level timestamp pid version signal exit_code exception troubles mode modes roots workers
    source reason kind detail count seen stored duplicate equivalent expanded conflict rejected ignored
    deferred waiting bytes seconds rate batch free_mb floor_mb attempt limit errno name swept adopted retired
    keys changed deep state id series missing gaps
    """.split()  # noqa: SIM905 - fifty quoted words would hide the list
)


def source_id(path: str) -> str:
    """A short stable name for a source path: 12 hex digits of its BLAKE2b. Reveals nothing of the path."""
    return hashlib.blake2b(os.fsencode(path), digest_size=6).hexdigest()


def _allow_listed(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in [key for key in event if key not in ALLOWED]:
        del event[key]
        event["detail"] = f"{event.get('detail', '')} [withheld {key}]".strip()
    return event


def _exception_without_text(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[1] is not None:
        event["exception"] = describe(info[1])
    return event


def describe(error: BaseException) -> str:
    """An exception chain as classes, errno and code positions, innermost last; never its text."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        number = f" errno {link.errno}" if isinstance(link, OSError) and link.errno else ""
        parts.append(f"{type(link).__name__}{number} at {_position(link.__traceback__)}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " <- ".join(parts)


def _position(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-3:]
    return " > ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in frames) or "?"


def configure(*, level: str = "info", form: Literal["auto", "console", "json"] = "auto") -> None:
    """Send all logging of this process to stderr; libraries' own records and warnings are not passed on."""
    import structlog  # noqa: PLC0415 - see above

    quiet_libraries()
    threading.excepthook = lambda args: get().error("thread_died", exc_info=args.exc_value)
    renderer: Any
    if form == "console" or (form == "auto" and sys.stderr.isatty()):
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_without_text,
            _allow_listed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def quiet_libraries() -> None:
    """Silence what libraries say: pydicom's warnings and records quote header values."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    logging.lastResort = None


def get() -> structlog.typing.FilteringBoundLogger:
    """The logger; cheap, call it where you log."""
    import structlog  # noqa: PLC0415 - see above

    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
