"""A few hundred damaged files, always the same: what ``python -m tests.fuzz`` does for as long as one likes."""

import subprocess
import sys

from support import ROOT


def test_damaged_files_in_every_transfer_syntax_are_accounted_for(tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", "--seed", "1", "--cases", "0-199", "--work", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    print(done.stdout)
    assert (done.returncode, "failures: 0" in done.stdout) == (0, True), done.stdout + done.stderr
