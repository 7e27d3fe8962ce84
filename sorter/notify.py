"""Tell systemd how the service does (sd_notify, systemd.unit(5)); does nothing elsewhere."""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send state lines such as ``READY=1``; without ``NOTIFY_SOCKET`` in the environment, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract name space
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), address)
        except OSError:
            pass  # systemd restarts: the next message arrives, and the watchdog covers the rest


def reloading() -> None:
    """Announce a reload; the time lets systemd 253 and later order it before the following READY."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
