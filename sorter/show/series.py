"""A series: what its instances share, the volumes they make, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sorter.selection import Series
from sorter.show.instance import about_instance, level, open_instance, plane
from sorter.volume import Flag, Stack, survey


def about_series(series: Series) -> dict[str, Any]:
    """The summary of a series, ready for JSON. Reads headers only.

    ``person``, ``study``, ``series`` and ``encoding`` are of its first instance. ``volumes`` has one object
    a stack of frames: ``shape`` (i, j, k[, t]), ``spacing`` (mm), ``affine`` (4 x 4, RAS+ mm), ``plane``,
    ``image_type``, ``echo_time`` (ms), ``flags`` (``code``, ``text``, ``is_fault``), ``is_volume``.
    ``unusable`` are files without frames, and why.
    """
    return {
        "series_instance_uid": series.uid,
        **level(about_instance(open_instance(series.paths[0])), "person", "study", "series", "encoding"),
        "instances": len(series.instances),
        **about_volumes(series.paths),
    }


def about_volumes(paths: Iterable[Path]) -> dict[str, Any]:
    """``volumes`` and ``unusable`` of :func:`about_series`, of any files."""
    found = survey(paths)
    return {
        "volumes": [_volume(stack) for stack in found.stacks],
        "unusable": [{"path": str(path), "reason": why} for path, why in found.unusable],
    }


def _volume(stack: Stack) -> dict[str, Any]:
    likeness = stack.likeness
    return {
        "shape": list(stack.shape),
        "spacing": [round(one, 6) for one in stack.spacing],
        "plane": plane(likeness.orientation) if likeness.orientation else "unknown",
        "affine": stack.affine.tolist(),
        "image_type": list(likeness.image_type),
        "echo_time": likeness.echo,
        "is_volume": not stack.faults,
        "flags": [_flag(flag) for flag in stack.flags],
    }


def _flag(flag: Flag) -> dict[str, Any]:
    return {"code": flag.code, "text": flag.text, "is_fault": flag.is_fault}
