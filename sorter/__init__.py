"""sorter: a DICOM archive that sorts itself."""

__version__ = "0.1.0"
