"""What systemd is told, over a real datagram socket."""

import socket
import time

import pytest

from sorter.notify import notify, reloading


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A socket as systemd has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        path = tmp_path / "notify"
        channel.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield channel


def test_lines_arrive_in_one_datagram(systemd):
    notify("READY=1", "STATUS=idle")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=idle"


def test_a_reload_tells_its_time(systemd):
    before = time.monotonic_ns() // 1000
    reloading()
    state, stamp = systemd.recv(4096).decode().split("\n")
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_the_abstract_name_space_is_reached(monkeypatch):
    name = f"sorter-test-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        channel.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("READY=1")
        assert channel.recv(4096) == b"READY=1"


def test_without_systemd_no_socket_is_made(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    made = []
    monkeypatch.setattr(socket, "socket", lambda *args: made.append(args))
    notify("READY=1")
    assert made == []


def test_a_systemd_that_is_gone_does_no_harm(systemd, tmp_path):
    (tmp_path / "notify").unlink()
    notify("WATCHDOG=1")
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1)
