"""On a file system with shared blocks the archive takes no room beside its sources."""

import os
import shutil
import subprocess

import pydicom
import pytest
from e2e.program import IS_ROOT, rescan, run
from support import dicom

SIZE = 8 << 20


@pytest.fixture
def xfs(tmp_path):
    """A new XFS in a file; gone afterwards."""
    if not IS_ROOT or shutil.which("mkfs.xfs") is None:
        pytest.skip("only root may mount, and mkfs.xfs makes the file system (apt-get install xfsprogs)")
    device, folder = tmp_path / "device", tmp_path / "xfs"
    folder.mkdir()
    with device.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", device], check=True)
    if subprocess.run(["mount", "-o", "loop", device, folder], check=False, capture_output=True).returncode:
        pytest.skip("no loop device may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def used(folder):
    os.sync()
    facts = os.statvfs(folder)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def test_a_rescan_shares_the_blocks_of_its_sources(xfs):
    incoming, archive = xfs / "incoming", xfs / "archive"
    incoming.mkdir()
    for number in range(4):
        data = dicom(number, Rows=2048, Columns=2048, PixelData=os.urandom(SIZE))
        (incoming / f"{number}.dcm").write_bytes(data)
    before = used(xfs)
    assert rescan(archive, incoming=incoming).facts["stored"] == 4
    assert used(xfs) - before < SIZE
    sources = {pydicom.dcmread(path).SOPInstanceUID: path for path in incoming.iterdir()}
    for path in archive.glob("*/**/*.dcm"):
        assert path.read_bytes() == sources[pydicom.dcmread(path).SOPInstanceUID].read_bytes()
    (incoming / "0.dcm").write_bytes(b"written again")
    assert run("verify", "--archive", archive).status == 0
