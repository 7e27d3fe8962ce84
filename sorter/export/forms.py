"""The forms of an export, and what may be chosen about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sorter.picture import Window


class Form(StrEnum):
    """What ``--to`` names."""

    NIFTI = "nifti"
    NPZ = "npz"
    PNG = "png"
    JPEG = "jpeg"
    GIF = "gif"
    WEBP = "webp"
    DICOM = "dicom"
    DICOMDIR = "dicomdir"
    ZIP = "zip"


VOLUMES = frozenset((Form.NIFTI, Form.NPZ))
PICTURES = frozenset((Form.PNG, Form.JPEG, Form.GIF, Form.WEBP))
COPIES = frozenset((Form.DICOM, Form.DICOMDIR, Form.ZIP))
# Endings of one file that may be named instead of a folder.
SUFFIXES = {
    Form.NIFTI: (".nii.gz", ".nii"),
    Form.NPZ: (".npz",),
    Form.PNG: (".png",),
    Form.JPEG: (".jpg", ".jpeg"),
    Form.GIF: (".gif",),
    Form.WEBP: (".webp",),
    Form.ZIP: (".zip",),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How to export.

    Parameters
    ----------
    window
        For pictures: ``"auto"`` or (center, width); see :func:`sorter.picture.picture`.
    montage
        One contact sheet a series instead of a picture a frame.
    animate
        One animated picture a series; GIF and WebP always are.
    axis
        For pictures of NIfTI files: the axis that the slices are taken along.
    regularize
        Make an even grid of what is not one; see :func:`sorter.volume.read`.
    scaling
        ``"precise"``: for NIfTI, the Philips scale slope where there is one, as dcm2niix does. ``"dicom"``:
        always the rescale of DICOM.
    """

    to: Form
    window: Window = "auto"
    montage: bool = False
    animate: bool = False
    axis: Literal["i", "j", "k"] = "k"
    regularize: bool = False
    scaling: Literal["precise", "dicom"] = "precise"
