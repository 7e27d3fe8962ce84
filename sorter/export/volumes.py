"""Series -> NIfTI with a BIDS sidecar, or NumPy with JSON; a file a stack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sorter.export.forms import Form, Options
from sorter.export.names import Names
from sorter.export.nifti import Nifti, is_turned, nifti, write
from sorter.export.outcome import Exported, State
from sorter.export.sidecar import sidecar
from sorter.export.writing import ExportError, check_free, new_file
from sorter.selection import Series
from sorter.volume import ORDER, RGB, Stack, Volume, VolumeError, read_stack, survey
from sorter.volume.frames import open_header
from sorter.volume.groups import Groups, groups_of


def export_volumes(
    series: Series, base: Path, names: Names, options: Options, *, dry_run: bool = False
) -> Iterator[Exported]:
    """Write the volumes of a series; each ends in one outcome.

    Parameters
    ----------
    base
        Path without suffix.
    """
    found = survey(series.paths)
    if not found.stacks or not series.instances:
        reasons = sorted({why for _, why in found.unusable})
        yield Exported(base.name, series.uid, State.LEFT_OUT, detail=f"no volume: {'; '.join(reasons)}")
        return
    for path, why in found.unusable:
        yield Exported(base.name, series.uid, State.LEFT_OUT, detail=why, source=path)
    several = len(found.stacks) > 1
    for number, stack in enumerate(found.stacks, 1):
        place = names.free(base.parent, f"{base.name}_{number}") if several else base
        yield _export(stack, place, options, dry_run=dry_run)


def _export(stack: Stack, base: Path, options: Options, *, dry_run: bool) -> Exported:
    uid = stack.likeness.series
    suffix = _suffix(base, options)
    stem = base.with_name(base.name.removesuffix(suffix))
    target, beside = stem.with_name(f"{stem.name}{suffix}"), stem.with_name(f"{stem.name}.json")
    done = Exported(stem.name, uid, State.EXPORTED, (target, beside), 1)
    try:
        check_free(target, beside)
        if dry_run:
            if stack.faults and not options.regularize:
                raise VolumeError("; ".join(f"{flag.code}: {flag.text}" for flag in stack.faults))
            return replace(done, shape=stack.shape, flags=stack.flags)
        volume = read_stack(stack, regularize=options.regularize)
        groups = groups_of(open_header(stack.first.path), stack.first.index)
        content = _contents(volume, groups, options, compressed=suffix != ".nii")
        for path, write_to in zip((target, beside), content, strict=True):
            with new_file(path) as out:
                write_to(out)
    except (VolumeError, ExportError) as error:
        source = error.path if isinstance(error, VolumeError) else None
        refused = Exported(stem.name, uid, State.REFUSED, detail=str(error), source=source)
        return replace(refused, shape=stack.shape, flags=stack.flags)
    return replace(done, shape=volume.shape, flags=volume.flags)


def _suffix(base: Path, options: Options) -> str:
    if options.to is Form.NPZ:
        return ".npz"
    return ".nii" if base.name.endswith(".nii") else ".nii.gz"


def _contents(
    volume: Volume, groups: Groups, options: Options, *, compressed: bool
) -> tuple[Callable[[BinaryIO], None], Callable[[BinaryIO], None]]:
    if options.to is Form.NPZ:
        return partial(_write_npz, volume), partial(_write_json, _facts(volume))
    content: Nifti = nifti(volume, groups, scaling=options.scaling)
    facts = sidecar(volume.stack, groups, is_turned=is_turned(volume, groups.dataset))
    if volume.flags:
        facts["SorterFlags"] = [f"{flag.code}: {flag.text}" for flag in volume.flags]
    return partial(write, content, compressed=compressed), partial(_write_json, facts)


def _write_npz(volume: Volume, out: BinaryIO) -> None:
    array = volume.array
    if array.dtype == RGB:  # plain numbers, the colours last
        array = np.stack([array[name] for name in ("R", "G", "B")], axis=-1)
    np.savez_compressed(out, array=array, affine=volume.affine, spacing=np.array(volume.spacing))


def _facts(volume: Volume) -> dict[str, Any]:
    like = volume.stack.likeness
    return {
        "shape": list(volume.shape),
        "dtype": "RGB of uint8" if volume.stored.dtype == RGB else str(volume.array.dtype),
        "order": ORDER,
        "spacing_mm": list(volume.spacing),
        "affine_ras_mm": volume.affine.tolist(),
        "image_type": list(like.image_type),
        "echo": like.echo,
        "segment": like.segment,
        "flags": [f"{flag.code}: {flag.text}" for flag in volume.flags],
    }


def _write_json(facts: dict[str, Any], out: BinaryIO) -> None:
    out.write(json.dumps(facts, indent=2, ensure_ascii=False).encode() + b"\n")
