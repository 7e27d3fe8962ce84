"""Builds and runs the Dockerfile's image without Docker: its steps, in clean Debian roots.

    python3 tests/systemd/dockerfile.py

Needs root, debootstrap and the package registries; takes about a minute. Not part of the test run.
Debian's Python 3.11 stands in for the base image's. Asserts that every RUN step works, that the image's user
can run the daemon on a read-only root without capabilities, that HEALTHCHECK tells health, and that the
STOPSIGNAL ends it with 0.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[2]
BASE = "python:3.11-slim-bookworm"
NETWORK = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt")
INSIDE = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (name, arguments)."""
    joined = re.sub(r"\\\n\s*", "", (PROJECT / "Dockerfile").read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(name, arguments) for name, _, arguments in (line.partition(" ") for line in lines)]


def build(steps: list[tuple[str, str]], work: Path) -> tuple[Path, dict[str, str]]:
    """Carry the steps out; the last stage's root, and its last value of each other instruction."""
    base = work / "base"
    packages = "--include=python3,python3-venv"
    subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", base], check=True)
    roots: dict[str, Path] = {}
    settings: dict[str, str] = {}
    root, folder = base, "/"
    for name, arguments in steps:
        words = arguments.split()
        if name == "FROM":
            assert words[0] == BASE, f"this script stands in for {BASE} only"
            stage = words[2] if len(words) > 1 else "final"
            root, folder, settings = work / stage, "/", {}
            subprocess.run(["cp", "-a", base, root], check=True)
            roots[stage] = root
        elif name == "WORKDIR":
            folder = arguments
            (root / folder[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(words, roots, root, folder)
        elif name == "RUN":
            run_step(root, folder, arguments)
        else:
            settings[name] = arguments
    return root, settings


def copy(words: list[str], roots: dict[str, Path], root: Path, folder: str) -> None:
    """A COPY step: from the project or another stage."""
    source = PROJECT
    if words[0].startswith("--from="):
        source = roots[words.pop(0).removeprefix("--from=")]
    *names, target = words
    inside = root / os.path.normpath(f"{folder}/{target}" if target[0] != "/" else target).lstrip("/")
    for name in names:
        found = source / name.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, inside, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, inside)


def run_step(root: Path, folder: str, command: str) -> None:
    """A RUN step, in a chroot that borrows this machine's way to the registries."""
    print("+", command, flush=True)
    for path in NETWORK:
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])
    borrowed = {name: value for name, value in os.environ.items() if re.search("(?i)^pip_|_proxy$", name)}
    subprocess.run(
        ["chroot", root, "sh", "-c", f"cd {folder} && {command}"], check=True, env=INSIDE | borrowed
    )


class Container:
    """Runs commands as the container would: as PID 1, root read-only, no capabilities, no network."""

    def __init__(self, root: Path, settings: dict[str, str]) -> None:
        self.root = root
        self.volumes = json.loads(settings["VOLUME"])
        self._user, self._group = settings["USER"].split(":")
        self._environment = dict(word.split("=", 1) for word in settings["ENV"].split())
        self._environment["PATH"] = self._environment["PATH"].replace("$PATH", INSIDE["PATH"])

    def start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a command in namespaces of its own."""
        root = self.root
        mounts = [f"mount --bind {root} {root}", f"mount -t tmpfs tmpfs {root}/tmp"]
        mounts += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=755 tmpfs {root}/dev"]
        mounts += [f"mkdir {root}/dev/shm", f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm"]
        for node in ("null", "urandom"):
            mounts += [f"touch {root}/dev/{node}", f"mount --bind /dev/{node} {root}/dev/{node}"]
        mounts += [f"mount --bind {root}{volume} {root}{volume}" for volume in self.volumes]
        mounts += [f"mount -o remount,bind,ro {root}", f"cd {root}"]
        drop = f"setpriv --reuid={self._user} --regid={self._group} --clear-groups --no-new-privs"
        caps = "--bounding-set=-all --inh-caps=-all"
        variables = " ".join(f"{name}={value}" for name, value in self._environment.items())
        script = " && ".join([*mounts, f'exec chroot . {drop} {caps} env -i {variables} "$@"'])
        separate = ["--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--propagation=private"]
        return subprocess.Popen(["unshare", *separate, "sh", "-ec", script, "sh", *command])

    def status(self, command: list[str]) -> int:
        """The exit status of a command."""
        return self.start(command).wait(120)


def until(condition: Callable[[], bool], what: str, daemon: subprocess.Popen[bytes]) -> None:
    """Wait for what the daemon must make come true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert daemon.poll() is None, f"ended before it was {what}"
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.5)


def serve(container: Container, settings: dict[str, str]) -> None:
    """Run the entry point, drop a file, ask for health, stop."""
    health = json.loads(settings["HEALTHCHECK"].partition("CMD ")[2])
    incoming, archive = (container.root / volume[1:] for volume in container.volumes)
    assert container.status(health) != 0, "healthy without a daemon"
    daemon = container.start(json.loads(settings["ENTRYPOINT"]))
    try:
        until(lambda: container.status(health) == 0, "healthy", daemon)
        (source,) = container.root.glob(
            "opt/sorter/lib/python3*/site-packages/pydicom/data/test_files/CT_small.dcm"
        )
        shutil.copy(source, incoming / "CT")
        until(
            lambda: any(".sorter" not in found.parts for found in archive.rglob("*.dcm")), "archived", daemon
        )
        first = int(Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text())
        os.kill(first, getattr(signal, settings["STOPSIGNAL"]))
        assert daemon.wait(60) == 0, "not a clean stop"
    finally:
        daemon.kill()


def main() -> None:
    """Build and run."""
    with tempfile.TemporaryDirectory(prefix="sorter-image.") as name:
        Path(name).chmod(0o755)
        root, settings = build(instructions(), Path(name))
        serve(Container(root, settings), settings)
    print("The image builds, runs, tells its health and stops.")


if __name__ == "__main__":
    main()
