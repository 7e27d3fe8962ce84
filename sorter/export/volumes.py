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
from sorter.export.writing import ExportError, check_free, new_file, why
from sorter.selection import Series
from sorter.volume import ORDER, RGB, Stack, Survey, Volume, VolumeError, read_stack, survey
from sorter.volume.frames import open_header
from sorter.volume.groups import Groups, groups_of

_Write = Callable[[BinaryIO], None]


def export_volumes(
    series: Series, base: Path, names: Names, options: Options, *, dry_run: bool = False
) -> Iterator[Exported]:
    """Write the volumes of a series; each ends in one outcome.

    Parameters
    ----------
    base
        Path without suffix, or of one file.
    """
    found = survey(series.paths)
    yield from _unusable(series, found, base.name)
    suffix = _suffix(base, options)
    stem = base.name.removesuffix(suffix)
    for number, stack in enumerate(found.stacks, 1):
        name = names.free(base.parent, f"{stem}_{number}").name if len(found.stacks) > 1 else stem
        target, beside = base.with_name(f"{name}{suffix}"), base.with_name(f"{name}.json")
        yield _export(stack, name, (target, beside), options, dry_run=dry_run)


def _unusable(series: Series, found: Survey, name: str) -> Iterator[Exported]:
    """What becomes of the files without frames: one line for those of a series that has no volume at all."""
    if not found.stacks and not found.faulty:
        reasons = "; ".join(sorted({why for _, why in found.unusable}))
        yield Exported(name, series.uid, State.LEFT_OUT, detail=f"no volume: {reasons}")
        return
    for path, reason in found.unusable:
        state = State.REFUSED if path in found.faulty else State.LEFT_OUT
        yield Exported(name, series.uid, state, detail=reason, source=path)


def _export(
    stack: Stack, name: str, targets: tuple[Path, Path], options: Options, *, dry_run: bool
) -> Exported:
    uid = stack.likeness.series
    done = Exported(name, uid, State.EXPORTED, targets, 1)
    try:
        check_free(*targets)
        if dry_run:
            if stack.faults and not options.regularize:
                raise VolumeError("; ".join(f"{flag.code}: {flag.text}" for flag in stack.faults))
            return replace(done, shape=stack.shape, flags=stack.flags)
        volume = read_stack(stack, regularize=options.regularize)
        groups = groups_of(open_header(stack.first.path), stack.first.index)
        shape, *contents = _contents(volume, groups, options, compressed=targets[0].suffix == ".gz")
        for path, write_to in zip(targets, contents, strict=True):
            with new_file(path) as out:
                write_to(out)
    except (VolumeError, ExportError, OSError, MemoryError) as error:
        source = error.path if isinstance(error, VolumeError) else None
        refused = Exported(name, uid, State.REFUSED, detail=why(error), source=source)
        return replace(refused, shape=stack.shape, flags=stack.flags)
    return replace(done, shape=shape, flags=volume.flags)


def _suffix(base: Path, options: Options) -> str:
    if options.to is Form.NPZ:
        return ".npz"
    return ".nii" if base.name.endswith(".nii") else ".nii.gz"


def _contents(
    volume: Volume, groups: Groups, options: Options, *, compressed: bool
) -> tuple[tuple[int, ...], _Write, _Write]:
    """The shape of what is written, and what writes the volume and the file beside it."""
    if options.to is Form.NPZ:
        return volume.shape, partial(_write_npz, volume), partial(_write_json, _facts(volume))
    content: Nifti = nifti(volume, groups, scaling=options.scaling)
    facts = sidecar(volume.stack, groups, is_turned=is_turned(volume, groups.dataset))
    if len(facts.get("SliceTiming", ())) != volume.shape[2]:  # slices were made, or left out
        facts.pop("SliceTiming", None)
    if volume.flags:
        facts["SorterFlags"] = [f"{flag.code}: {flag.text}" for flag in volume.flags]
    return content.stored.shape, partial(write, content, compressed=compressed), partial(_write_json, facts)


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
