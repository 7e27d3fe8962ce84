"""How much processor time converting takes: 200 slices of 512 x 512 from NIfTI, one core.

Run: ``python -m benchmarks.formats``. Processor time, not wall time: other programs do not matter.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from sorter.convert.batch import Job, Setting, convert_one
from sorter.convert.options import Options

SHAPE = (512, 512, 200)
CASES = (
    ("int16, .nii", "int16", ".nii", "auto"),
    ("int16, .nii.gz", "int16", ".nii.gz", "auto"),
    ("float32, .nii", "float32", ".nii", "auto"),
    ("float32, .nii, pmap", "float32", ".nii", "pmap"),
)


def main() -> None:
    """Print a line for each case."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 1000, SHAPE[:2])
    for name, dtype, ending, kind in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"volume{ending}")
            voxels = np.stack([base + k for k in range(SHAPE[2])], -1).astype(dtype)
            if dtype == "float32":
                voxels *= np.float32(0.37)
            nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 1.0, 1.0])), path)
            del voxels
            facts = {"PatientID": "P", "Modality": "MR", "StudyDate": "20200101"}
            job = Job(path, "volume", (("here", facts),))
            started = time.process_time()
            result = convert_one(job, Setting(Options(kind=kind), Path(folder, "to")))  # type: ignore[arg-type]
            seconds = time.process_time() - started
            print(f"{name:22} {result.instances:4} instances {seconds:6.2f} s of processor {result.error}")


if __name__ == "__main__":
    main()
