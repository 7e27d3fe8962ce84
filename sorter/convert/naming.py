"""How files that belong together are named; light, for whoever only looks at names."""

from __future__ import annotations

FOLDER_FILE = "sorter.toml"  # of a folder: its facts stand in the table [dicom]
TEMPLATE = "_template.dcm"
VOXELS = (".img", ".img.gz", ".IMG")  # what stands in place of .hdr in the name of the other half of a pair


def stem(name: str) -> str:
    """The name without its ending, or both of ``.nii.gz``."""
    return name.removesuffix(".gz").rpartition(".")[0] or name
