"""The names of files that belong together."""

import subprocess
import sys

import pytest

from sorter.convert.naming import stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("brain.nii.gz", "brain"),
        ("brain.v2.png", "brain.v2"),
        ("brain.img.gz", "brain"),
        ("brain", "brain"),
        (".hidden", ".hidden"),
        ("brain.gz", "brain.gz"),
    ],
)
def test_the_stem_lacks_the_ending_and_of_a_compressed_volume_both(name, expected):
    assert stem(name) == expected


def test_whoever_looks_at_names_loads_no_numpy():
    """The daemon's parent does."""
    said = "import sys, sorter.unpack.beside; print(sorted({'numpy', 'pydicom'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
