"""Runs of the real command line, undisturbed or with strace killing them or failing their system calls."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import ROOT

# Every call that makes, names, fills, shortens, syncs or removes a file.
CALLS = (
    "fsync", "fdatasync", "syncfs", "link", "linkat", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "write", "pwrite64", "ftruncate", "openat",
)  # fmt: skip
KILLED = -9
SECONDS = 60  # no run of a few small files takes so long


@dataclass(frozen=True)
class Call:
    """One system call of a log: its lines (start, end), its process, and the paths it concerns."""

    start: int
    end: int
    pid: int
    name: str
    arguments: str
    result: str
    number: int  # the how-manyth of this name in this process: strace's ``when``

    @property
    def paths(self):
        """Its path arguments, made absolute with the descriptor before them."""
        found, folder = [], None
        for descriptor, text in re.findall(r'(?:\d+|AT_FDCWD)<([^>]*)>|"((?:[^"\\]|\\.)*)"', self.arguments):
            if descriptor:
                folder = descriptor
            else:
                found.append(os.path.join(folder or "/", text))
        return found

    @property
    def descriptor(self):
        """The path behind its first descriptor."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        return found[1] if found else ""

    @property
    def target(self):
        """What it changes: a path, for the names of tests and for choosing."""
        if self.name in ("write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate"):
            return self.descriptor
        return self.paths[-1] if self.paths else ""

    @property
    def creates(self):
        """Whether it is an open that makes a file."""
        return self.name == "openat" and "O_CREAT" in self.arguments

    @property
    def ok(self):
        """Whether it succeeded."""
        return not self.result.startswith("-1")


@dataclass
class Finished:
    """What a run left to see."""

    status: int
    stdout: str
    stderr: str
    outlived: int
    folder: Path
    log: list[Call] = field(default_factory=list)
    worker_log: list[Call] = field(default_factory=list)

    @property
    def summary(self):
        """The object that ``--json`` prints."""
        return json.loads(self.stdout)


def parse(path):
    """The calls of a strace log, in the order of their ends."""
    calls, begun, counts = [], {}, {}
    for number, line in enumerate(path.read_text(errors="surrogateescape").splitlines()):
        pid, _, rest = line.partition(" ") if line[:1].isdigit() else ("0", "", line)
        rest = rest.strip()
        if match := re.match(r"(\w+)\((.*?)\s*<unfinished \.\.\.>$", rest):
            begun[pid] = (number, match[1], match[2])
            continue
        if match := re.match(r"<\.\.\. (\w+) resumed>(.*?)\)?\s+= (.*)$", rest):
            start, name, arguments = begun.pop(pid)
            arguments += match[2]
        elif match := re.match(r"(\w+)\((.*)\)\s+= (.*)$", rest):
            start, name, arguments = number, match[1], match[2]
        else:
            continue
        counts[pid, name] = counts.get((pid, name), 0) + 1
        calls.append(Call(start, number, int(pid), name, arguments, match[3], counts[pid, name]))
    return calls


def inject(call, when, what="signal=KILL"):
    """strace's words for doing something at the n-th call of a name."""
    return ["-e", f"inject={call}:{what}:when={when}"]


def skip_without_strace():
    """Skip where system calls cannot be watched."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine does not permit ptrace")


class Sorter:
    """The command line of one copy of the package, ready to be run many times (see ``forks.py``)."""

    def __init__(self, package=ROOT):
        environ = {key: value for key, value in os.environ.items() if not key.startswith("SORTER_")}
        environ |= {"PYTHONPATH": str(package), "SORTER_CONFIG": "", "PYTHONDONTWRITEBYTECODE": "1"}
        script = Path(__file__).with_name("forks.py")
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(
            [sys.executable, str(script)], stdin=pipe, stdout=pipe, text=True, env=environ, cwd=package
        )

    def run(self, work, *arguments, trace=None, worker_trace=None, environ=None):
        """One run of ``sorter *arguments``.

        Parameters
        ----------
        work
            Folder for its output and its logs.
        trace, worker_trace
            strace options for the process that names and records, and for the first worker; ``[]`` only logs,
            None does not trace.
        environ
            More variables.
        """
        base = work / f"run{len(list(work.glob('run*.out')))}"
        out, err, log = (base.with_suffix(suffix) for suffix in (".out", ".err", ".log"))
        worker_log = base.with_suffix(".worker")
        request = {
            "arguments": [str(one) for one in arguments],
            "environ": {"SORTER_SETTLE_SECONDS": "0", "SORTER_WORKERS": "1", "SORTER_MIN_FREE_MB": "0"}
            | (environ or {}),
            "stdout": str(out),
            "stderr": str(err),
            "traced": trace is not None,
            "worker": "" if worker_trace is None else _wrapper(base, worker_log, worker_trace),
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        pid = self._answer()["pid"]
        if trace is not None:
            with base.with_suffix(".strace").open("w") as words:
                strace = subprocess.Popen(["strace", "-p", str(pid), *_options(log), *trace], stderr=words)
        ended = self._answer()
        if trace is not None:
            strace.wait(SECONDS)
        logs = [parse(path) if path.exists() else [] for path in (log, worker_log)]
        return Finished(ended["status"], out.read_text(), err.read_text(), ended["outlived"], work, *logs)

    def _answer(self):
        line = self._server.stdout.readline()
        assert line, "the forking process ended; its words are above"
        return json.loads(line)

    def close(self):
        """End the process that forks."""
        self._server.stdin.close()
        self._server.wait(SECONDS)
        self._server.stdout.close()


def _options(log):
    return ["-qq", "-y", "-s", "400", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]


def _wrapper(base, log, trace):
    """A Python that runs the first worker under strace, its tracer as a grandchild, and all else as it is."""
    path, flag = base.with_suffix(".sh"), base.with_suffix(".first")
    # Not with --seccomp-bpf: strace 6.1 then injects no signal.
    strace = " ".join(["strace", "-D", *_options(log), *trace])
    path.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *spawn_main*) mkdir {flag} 2>/dev/null && exec {strace} {sys.executable} "$@";; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def rescan(sorter, work, scenario, **how):
    """One ``sorter --rescan`` of a scenario."""
    where = [work.incoming] if scenario.by_hand else ["--incoming", work.incoming]
    retire = {"SORTER_RETIRE": scenario.retire}
    return sorter.run(
        work.folder, "--rescan", "--json", "--archive", work.archive, *where, environ=retire, **how
    )


def points(finished, log):
    """The calls of a log that change or sync something of ours: where to interrupt."""
    ours = (f"{finished.folder}/archive", f"{finished.folder}/incoming/")
    return [
        call
        for call in log
        if (call.target.startswith(ours) or call.target == str(finished.folder))
        and (call.name != "openat" or call.creates)
    ]


def place_of(call, finished):
    """A call in words for the failure of a test."""
    return f"{call.name} {call.number} {call.target.removeprefix(str(finished.folder))}"


def sample(found, most):
    """At most so many of them, evenly spread, always the same, the first and the last among them."""
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / max(1, most - 1))] for place in range(most)]
