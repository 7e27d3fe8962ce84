"""JPEG 2000: ``sorter --rescan``, end to end, beside ``opj_decompress`` and one core in memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
from pydicom.encaps import generate_frames

from benchmarks.corpus import KINDS, make
from benchmarks.options import Options
from benchmarks.peers import SORTER, Peer, PeerFailed, Sort, Tools, run
from benchmarks.report import Cell, Table
from benchmarks.rounds import Result, measure

# By title: kind, files, frames of each. About 200 megapixels each, as decoders count.
CORPORA = {
    "CT": ("j2k-ct", 800, 1),
    "mammography": ("j2k-mg", 40, 1),
    "multi-frame": ("j2k-multiframe", 8, 100),
    "one multi-frame file": ("j2k-multiframe", 1, 800),
}
GOAL = 0.85
COLUMNS = (
    "decoder", "megapixels/s", "of twice one core", "megapixels/s, not synced", "CPU, s", "lost", "peak MB",
    "of it not mapped files",
)  # fmt: skip


def decode(work: Path, options: Options) -> list[Table]:
    """One table for each corpus."""
    return [_corpus(work, options, title) for title in CORPORA]


def _corpus(work: Path, options: Options, title: str) -> Table:
    name, files, frames = CORPORA[title]
    if files == 1:
        frames = options.scaled(frames, least=20)
    else:
        files = options.scaled(files, least=4)
    kind = replace(KINDS[name], frames=frames)
    with options.folder(work, name) as source:
        make(source, kind, files)
        streams = source.with_name("codestreams")
        extract(source, streams)
        contestants = [one_core(streams), SORTER, opj_decompress(streams)]
        results = measure(
            contestants, source, source.parent,
            tools=options.tools, rounds=options.rounds, patience=options.patience,
        )  # fmt: skip
    frames_each = f" of {kind.frames:,} frames" if kind.frames > 1 else ""
    facts = f"{files:,} file{'s' * (files > 1)}{frames_each}, {kind.columns} x {kind.rows}"
    return Table(
        f"decode-{title.replace(' ', '-').lower()}",
        f"JPEG 2000, {title}: {facts}",
        COLUMNS,
        _rows(results, kind.megapixels * files),
        [f"{one.peer.name}: left out: {one.skipped}" for one in results if one.skipped],
        bars="of twice one core",
        goal=GOAL,
    )


def _rows(results: Sequence[Result], megapixels: float) -> list[list[Cell]]:
    core = results[0]
    rows: list[list[Cell]] = []
    for one in results:
        if one.skipped:
            continue
        ratio, to_exit = core.ratio(one), one.ratio(one, to_exit=True)
        rows.append([
            one.peer.name,
            megapixels / one.median(),
            ratio and ratio / 2,
            megapixels / one.median() / (to_exit or 1),
            one.cpu(),
            one.lost if one.peer is SORTER else None,
            round(one.peak_mb),
            round(one.own_mb),
        ])  # fmt: skip
    return rows


def extract(source: Path, streams: Path) -> None:
    """Write the codestream of each frame of each file into a folder of its own."""
    streams.mkdir()
    number = 0
    for path in sorted(source.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        frames = int(dataset.get("NumberOfFrames", 1))
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
            (streams / f"{number:06}.j2k").write_bytes(frame)
            number += 1


def opj_decompress(streams: Path) -> Peer:
    """OpenJPEG's own program over a folder of codestreams, two threads; writes raw pixels beside them."""

    @contextlib.contextmanager
    def ready(tools: Tools, out: Path) -> Iterator[Sort]:
        out.mkdir()
        for one in streams.iterdir():
            (out / one.name).hardlink_to(one)
        command = [tools["opj_decompress"], "-ImgDir", str(out), "-OutFor", "RAW", "-threads", "2", "-quiet"]
        yield lambda _source: run(command)

    install = "apt-get install libopenjp2-tools"
    return Peer("opj_decompress -threads 2", ("opj_decompress",), install, "no", "no", ready)


def one_core(streams: Path) -> Peer:
    """pylibjpeg-openjpeg in memory, on one core: nothing is read or written, nothing is verified."""

    @contextlib.contextmanager
    def ready(_tools: Tools, _out: Path) -> Iterator[Sort]:
        command = [sys.executable, "-m", "benchmarks.decode", str(streams)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin and child.stdout
            child.stdout.readline()  # all is in memory

            def sort(_source: Path) -> None:
                assert child.stdin and child.stdout
                child.stdin.write("\n")
                child.stdin.flush()
                if not child.stdout.readline():
                    raise PeerFailed("the decoder failed")

            yield sort

    return Peer("one core in memory", (), "", "yes", "no", ready)


def main() -> None:
    """Decode the codestreams of a folder, when told to, on one core."""
    from openjpeg.utils import decode_pixel_data  # noqa: PLC0415 - not for the parent

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    streams = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
    decode_pixel_data(streams[0], version=2)
    print("ready", flush=True)
    sys.stdin.readline()
    for one in streams:
        decode_pixel_data(one, version=2)
    print("done", flush=True)


if __name__ == "__main__":
    main()
