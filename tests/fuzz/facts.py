"""What must hold after a round; each broken fact is a Fault: one line, and the case that it is about."""

import json
import zlib
from collections import Counter
from dataclasses import dataclass

from crash.facts import sha256
from e2e.program import KINDS, instances, sources
from fuzz.cases import CANARIES
from fuzz.oracle import other_instance, other_pixels, truncated
from support import tree


@dataclass(frozen=True)
class Fault:
    """One broken fact; ``number`` is the case's, where it is about one."""

    text: str
    number: int | None = None

    def __str__(self):
        return self.text if self.number is None else f"case {self.number}: {self.text}"


def check(ran, oracle):
    """All that is wrong after a round."""
    numbers = {case.name: case.number for case in ran.cases}
    faults = [Fault(line, numbers.get(line.partition(":")[0])) for line in ran.faults]
    faults += [Fault(line) for line in _program(ran)]
    if ran.status not in (0, 1):
        return faults
    words, rows = sources(ran.archive), {row["path"]: row for row in instances(ran.archive)}
    ran.pixels = [row["pixels"] for row in rows.values()]
    faults += [Fault(line) for line in _ledger(ran, words)]
    faults += [Fault(line) for line in _tree(ran, rows)]
    by_path = {word["source"]: word for word in words}
    for case in ran.cases:
        word = by_path.get(str(ran.path(case)))
        lines = ["no word about it"] if word is None else _case(ran, oracle, case, word, rows)
        faults += [Fault(line, case.number) for line in lines]
    return faults


def _program(ran):
    """It ended well, and said nothing of patients."""
    expected = (0,) if ran.mode == "daemon" else (0, 1)
    wrong = []
    if ran.status not in expected:
        wrong.append(f"the {ran.mode} ended with {ran.status}: {ran.output[-300:]!r}")
    if "Traceback" in ran.output or "internal error" in ran.output:
        wrong.append(f"it said: {ran.output[-300:]!r}")
    status = ran.archive / ".sorter" / "status.json"
    said = ran.output + (status.read_text() if status.exists() else "")
    wrong += [f"a canary sings: {canary}" for canary in CANARIES if canary in said]
    staging = ran.archive / ".sorter" / "staging"
    if staging.exists() and list(staging.iterdir()):
        wrong.append("staging is not empty")
    return wrong


def _ledger(ran, words):
    """As many words as files, one each; and the sum of the outcomes is what was seen."""
    wrong = []
    counted = Counter(word["outcome"] for word in words)
    said = {kind: ran.summary.get(kind, 0) for kind in KINDS}
    if not ran.summary.get("seen") == sum(said.values()) == len(ran.cases) == len(words):
        wrong.append(f"{len(ran.cases)} files, {len(words)} rows, seen and outcomes: {ran.summary}")
    if said != {kind: counted[kind] for kind in KINDS}:
        wrong.append(f"outcomes of the ledger {dict(counted)}, of the summary {said}")
    twice = [name for name, count in Counter(word["source"] for word in words).items() if count > 1]
    return wrong + [f"{len(twice)} files have several rows"] * bool(twice)


def _tree(ran, rows):
    """Each file has its row with its size and SHA-256, and each row its file."""
    published = tree(ran.archive)
    wrong = [f"a file without a row: {path}" for path in published.keys() - rows.keys()]
    wrong += [f"a row without a file: {path}" for path in rows.keys() - published.keys()]
    for path, data in published.items():
        row = rows.get(path)
        if row and (len(data), sha256(data)) != (row["size"], row["sha256"]):
            wrong.append(f"a row with other size or digest than its file: {path}")
        if row and any(canary in (row["note"] or "") for canary in CANARIES):
            wrong.append(f"a canary sings in a note: {path}")
    return wrong


def stream_of(data):
    """The DICOM stream in a file: itself, or what a gzip holds; all of a file that is no whole gzip."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        inflater = zlib.decompressobj(31)
        return inflater.decompress(data, 256 << 20)
    except zlib.error:
        return data


def _case(ran, oracle, case, word, rows):
    """What became of one case is right for it."""
    if any(canary in (word["detail"] or "") for canary in CANARIES):
        return ["a canary sings in the ledger's detail"]
    if word["sha256"] and word["sha256"] not in (sha256(case.data), sha256(stream_of(case.data))):
        return ["the ledger has another SHA-256"]
    if ran.path(case).read_bytes() != case.data:
        return ["the source was changed"]
    outcome, stream = word["outcome"], stream_of(case.data)
    if outcome in ("rejected", "conflict"):
        return _quarantined(ran, oracle, case, word, stream)
    if outcome == "ignored":
        return [] if word["reason"] == "dicomdir" else [f"ignored, {word['reason']}"]
    row = rows.get(word["path"])
    if row is None:
        return [f"{outcome}, and its path has no row"]
    place = ran.archive / row["path"]
    if not place.exists():
        return [f"{outcome}, and its file is gone"]
    archived = place.read_bytes()
    if outcome == "duplicate":
        same = sha256(stream) in (row["source_sha256"], row["sha256"])
        return [] if same else ["said to be a duplicate, and is none"]
    if outcome == "equivalent":
        answer = oracle.ask(other_instance, stream, archived)
        return [f"said to be equivalent: {answer}"] if answer else []
    return _stored(oracle, row, stream, archived) if outcome == "stored" else [f"{outcome} {word['reason']}"]


def _stored(oracle, row, stream, archived):
    """Whole; the very bytes, or the very pixels."""
    answers = [oracle.ask(truncated, archived)]
    if sha256(stream) != row["source_sha256"]:
        answers.append("its row has another source_sha256")
    if row["pixels"] == "transcoded":
        answers.append(oracle.ask(other_pixels, stream, archived))
    elif archived != stream:
        answers.append(f"archived with other bytes than it came with, though {row['pixels']}")
    return [f"stored: {answer}" for answer in answers if answer]


def _quarantined(ran, oracle, case, word, stream):
    """Its bytes are kept with a note; of a conflict that was transcoded, its pixels."""
    kept = ran.archive / word["path"]
    if not word["path"] or not kept.exists():
        return [f"{word['outcome']} {word['reason']}, and its bytes are not in quarantine"]
    if word["reason"] == "decoder_crashed" and kept.suffix == ".json":
        return []  # there is nobody who could have copied it: its source stays where it is
    data, note = kept.read_bytes(), json.loads(kept.with_suffix(".json").read_text())
    wrong = []
    if (note["reason"], note["sha256"]) != (word["reason"], sha256(data)):
        wrong.append(
            "the note in quarantine has another reason than the ledger, or another digest than the file"
        )
    if data in (case.data, stream):
        return wrong
    if word["outcome"] == "rejected":
        return [*wrong, "in quarantine with other bytes"]
    answer = oracle.ask(other_pixels, stream, data)
    return [*wrong, f"in quarantine: {answer}"] if answer else wrong
