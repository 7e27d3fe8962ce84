"""Taking one event to one hook: a command, or a webhook."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from sorter import __version__
from sorter.config import Hook
from sorter.errors import ConfigError

if TYPE_CHECKING:
    import urllib3

# Answers after which the same request may do better; 5xx too.
_LATER = frozenset((408, 425, 429))
_POLL = 0.2
# A hook is told how to reach nothing of ours: neither the options nor systemd's sockets.
_KEPT_BACK = ("SORTER_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "CREDENTIALS_DIRECTORY")


class Answer(Enum):
    """What became of an attempt."""

    TAKEN = auto()
    LATER = auto()  # try again
    NEVER = auto()  # trying again would not help


@dataclass(frozen=True, slots=True)
class Attempt:
    """An answer, why (never text of the other side), and for how many seconds it asked to be left alone."""

    answer: Answer
    reason: str = ""
    pause: float = 0.0


def check_hook(hook: Hook) -> None:
    """Whether the secret can be read.

    Raises
    ------
    ConfigError
        It cannot, or is empty.
    """
    try:
        if hook.secret_file and not _secret(hook):
            raise ConfigError(f"hooks: the secret file {hook.secret_file} is empty")
    except OSError as error:
        raise ConfigError(
            f"hooks: cannot read the secret file {hook.secret_file}: {os.strerror(error.errno or 0)}"
        ) from None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the hex HMAC-SHA-256 of ``timestamp.body``: what ``X-Sorter-Signature`` holds."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Carrier:
    """Takes events to hooks; for use by one thread.

    TLS certificates are verified against those that the system trusts. Redirects are not followed.
    """

    def __init__(self) -> None:
        self._http: urllib3.PoolManager | None = None

    def carry(self, hook: Hook, kind: str, number: str, body: bytes, stopping: threading.Event) -> Attempt:
        """One attempt.

        Parameters
        ----------
        kind, number
            The event's name and id.
        body
            The event as JSON.
        stopping
            Set when a command must be ended; the event is tried again at the next start.
        """
        if hook.url:
            return self._post(hook, kind, number, body)
        return _run(hook, kind, number, body, stopping)

    def _post(self, hook: Hook, kind: str, number: str, body: bytes) -> Attempt:
        import urllib3  # noqa: PLC0415 - only where there is a webhook
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        if self._http is None:
            self._http = urllib3.PoolManager(num_pools=8, retries=False, cert_reqs="CERT_REQUIRED")
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"sorter/{__version__}",
            "X-Sorter-Event": kind,
            "X-Sorter-Event-Id": number,
            "X-Sorter-Timestamp": timestamp,
        }
        try:
            if hook.secret_file:
                headers["X-Sorter-Signature"] = signature(_secret(hook), timestamp, body)
            response = self._http.request(
                "POST",
                hook.url,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(total=hook.timeout_seconds),
                preload_content=False,  # nobody reads what it says, however long
            )
        except (HTTPError, OSError) as error:
            return Attempt(Answer.LATER, type(error).__name__)
        try:
            return _judged(response.status, response.headers)
        finally:
            response.close()

    def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            self._http.clear()


def _judged(status: int, headers: Mapping[str, str]) -> Attempt:
    if 200 <= status < 300:
        return Attempt(Answer.TAKEN)
    if status >= 500 or status in _LATER:
        asked = headers.get("Retry-After", "")
        return Attempt(Answer.LATER, f"status {status}", float(asked) if asked.isdecimal() else 0.0)
    return Attempt(Answer.NEVER, f"status {status}")


def _secret(hook: Hook) -> bytes:
    assert hook.secret_file is not None
    return hook.secret_file.read_bytes().strip()


def _run(hook: Hook, kind: str, number: str, body: bytes, stopping: threading.Event) -> Attempt:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_KEPT_BACK)}
    environment |= {"SORTER_EVENT": kind, "SORTER_EVENT_ID": number}
    try:
        process = subprocess.Popen(  # noqa: S603 - the administrator's command, without a shell
            hook.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # may hold patient data
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
    except (OSError, ValueError) as error:
        return Attempt(Answer.LATER, type(error).__name__)
    deadline = time.monotonic() + hook.timeout_seconds
    text: bytes | None = body
    while True:
        try:
            process.communicate(text, timeout=_POLL)
        except subprocess.TimeoutExpired:
            text = None  # it goes on with what it was given
            if stopping.is_set() or time.monotonic() > deadline:
                _end(process)
                return Attempt(Answer.LATER, "stopped" if stopping.is_set() else "timeout")
            continue
        break
    if process.returncode:
        return Attempt(Answer.LATER, f"status {process.returncode}")
    return Attempt(Answer.TAKEN)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
