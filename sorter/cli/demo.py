"""``sorter demo [DIR]``: sort real files, and show the result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sorter.cli.options import reading

if TYPE_CHECKING:
    from sorter.config import Config

_SHOWN = 24


@click.command("demo")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@reading
def command(load: Callable[[], Config], quiet: bool, directory: Path | None) -> int:
    """Sort the real DICOM files that pydicom bundles, and show the result.

    Makes DIR (default: ./demo) with a drop folder and an archive; what lies there already is used again.
    """
    from sorter import config as configuration  # noqa: PLC0415 - heavy, and not needed for --help
    from sorter import log  # noqa: PLC0415
    from sorter.cli.rescan import report  # noqa: PLC0415
    from sorter.rescan import backfill  # noqa: PLC0415

    root = (directory or Path("demo")).absolute()
    incoming, archive = root / "incoming", root / "archive"
    copied = _fill(incoming)
    click.echo(f"Dropped {copied} files into {incoming}, some of them damaged on purpose.\n")
    config = configuration.load(
        flags={"incoming": [str(incoming)], "archive": str(archive), "settle_seconds": 0},
        environ={"SORTER_CONFIG": ""},
    )
    log.configure(level="error")
    tally = backfill(config)
    click.echo(report(tally, config, dry_run=False))
    click.echo(f"\n{archive}")
    for line in _tree(archive, _SHOWN):
        click.echo(line)
    click.echo()
    _rows(config)
    click.echo(f"\nNow try:  sorter find --archive {_short(archive)} Modality=MR --level series")
    click.echo(f"          sorter --incoming {_short(incoming)} --archive {_short(archive)}     (the daemon)")
    return 0


def _fill(incoming: Path) -> int:
    """Copy pydicom's bundled files, in their folders; files that are there already stay."""
    import pydicom.data  # noqa: PLC0415 - heavy

    bundled = Path(pydicom.data.__file__).parent
    count = 0
    for part in ("test_files", "charset_files"):
        for source in sorted((bundled / part).rglob("*")):
            if not source.is_file() or source.suffix in (".py", ".pyc", ".txt"):
                continue
            target = incoming / part / source.relative_to(bundled / part)
            count += 1
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return count


def _tree(root: Path, most: int) -> list[str]:
    """The tree in lines, long folders and the long rest shortened."""
    lines: list[str] = []
    total = 0
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        depth = len(Path(folder).relative_to(root).parts)
        if depth:
            lines.append("  " * depth + Path(folder).name + "/")
        indent = "  " * (depth + 1)
        lines += [indent + name for name in sorted(files)[:2]]
        if len(files) > 2:
            lines.append(f"{indent}... {len(files) - 2} more")
        total += len(files)
    hidden = len(lines) - most
    return lines if hidden <= 0 else [*lines[:most], f"  ... {hidden} more lines, {total} files in all"]


def _rows(config: Config) -> None:
    from sorter.cli.find import SHOWN, show_table  # noqa: PLC0415
    from sorter.index import Index  # noqa: PLC0415

    index = Index.open(config.index_location, read_only=True)
    try:
        show_table(
            index.find({"PatientID": "?*", "SeriesDescription": "?*"}, level="series", limit=8),
            SHOWN["series"],
        )
    finally:
        index.close()


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
