"""The page of ``sorter quarantine show`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sorter.cli.text import printable

WIDTH = 46  # of one of two columns
_IDENTITY = (
    "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate",
    "StudyDescription", "AccessionNumber", "SeriesInstanceUID", "Modality", "SeriesDescription",
    "SOPInstanceUID", "SOPClass", "InstanceNumber", "NumberOfFrames", "Rows", "Columns",
)  # fmt: skip


def page(facts: Mapping[str, Any]) -> str:
    """One entry as a page."""
    lines = [f"{facts['id']}  {facts['reason']}"]
    lines += [
        f"  {name:<10}{value}"
        for name, value in (
            ("why", printable(facts["detail"])),
            ("refused", facts["time"]),
            ("source", printable(facts["source"])),
            ("sha256", facts["sha256"]),
            ("missing", None if facts["fill_in"] else facts["trouble"]),
            *(("file", f"{facts['archive']}/{path}") for path in facts["files"]),
            ("note", f"{facts['archive']}/{facts['note']}" if facts["note"] else None),
            ("retried", _retried(facts["retried"])),
        )
        if value
    ]
    lines += _asked(facts["fill_in"])
    lines += _history(facts["history"])
    if facts.get("comparison"):
        lines += _comparison(facts["existing"], facts["comparison"])
    elif "existing_is_there" in facts:
        lines += _uncompared(facts)
    elif facts.get("file"):
        lines += ["  read as", *_values(facts["file"])]
    return "\n".join(lines)


def _retried(said: Any) -> str | None:
    if not isinstance(said, dict):
        return None
    return f"{said.get('time')}: {said.get('outcome')} {printable(str(said.get('detail') or ''))}"


def _asked(wanted: Any) -> list[str]:
    """What a person may fill in, and where."""
    if not isinstance(wanted, dict):
        return []
    done = [keyword for keyword, value in wanted.items() if value not in ("", None)]
    left = [keyword for keyword in wanted if keyword not in done]
    return [
        '  to do     fill in "fill_in" in the note, or write a .json of the same name beside the source:',
        "            a daemon notices, and so does `sorter quarantine retry`",
        *([f"  filled in {', '.join(map(printable, done))}"] if done else []),
        *([f"  empty     {', '.join(map(printable, left))}"] if left else []),
    ]


def _history(rows: list[dict[str, Any]] | None) -> list[str]:
    if rows is None:
        return ["  ledger    there is no index to ask"]
    if not rows:
        return ["  ledger    no source is known for it"]
    lines = ["  ledger"]
    for row in rows:
        word = " ".join(dict.fromkeys(filter(None, (row["outcome"], row["reason"]))))
        lines.append(
            f"    {row['recorded_at'][:19]}  batch {row['batch']}  {word:<24}{printable(row['source'])}"
        )
        if row["detail"]:
            lines.append(f"    {'':<21}{printable(row['detail'])}")
    return lines


def _uncompared(facts: Mapping[str, Any]) -> list[str]:
    if facts["existing_is_there"]:
        return [
            f"  archived  {printable(facts['existing'])}",
            "  They cannot be compared: one cannot be read, or a decoder died over it.",
        ]
    lines = ["  The archived instance is not there any more: `sorter quarantine retry` brings this one in."]
    return lines + (_values(facts["file"]) if facts.get("file") else [])


def _values(side: Mapping[str, Any]) -> list[str]:
    lines = [f"    {'transfer syntax':<20}{side['transfer_syntax']}"]
    return lines + [
        f"    {keyword:<20}{printable(side['values'][keyword])}"
        for keyword in _IDENTITY
        if keyword in side["values"]
    ]


def _comparison(existing: str, found: Mapping[str, Any]) -> list[str]:
    first, second = found["first"], found["second"]
    lines = [f"  archived  {printable(existing)}", "", f"  {'':<20}{'ARCHIVED':<{WIDTH}}IN QUARANTINE"]
    rows: list[tuple[str, str, str]] = [
        ("size", f"{first['size']:,}", f"{second['size']:,}"),
        ("sha256", first["sha256"][:40], second["sha256"][:40]),
        ("transfer syntax", first["transfer_syntax"], second["transfer_syntax"]),
    ]
    for keyword in _IDENTITY:
        one, other = (side["values"].get(keyword, "") for side in (first, second))
        if one or other:
            rows.append((keyword, one, other))
    lines += [_row(name, one, other) for name, one, other in rows]
    lines += ["", f"  {found['count']} element{'s differ' if found['count'] != 1 else ' differs'}"]
    for one in found["differences"]:
        lines.append(f"  {one['path']} {printable(one['name'])}".rstrip())
        lines.append(f"    archived       {_shown(one['first'])}")
        lines.append(f"    in quarantine  {_shown(one['second'])}")
    if len(found["differences"]) < found["count"]:
        lines.append(f"  ... and {found['count'] - len(found['differences'])} more")
    return [*lines, "", f"  pixels: {_pixels(found['pixels'])}"]


def _row(name: str, one: str, other: str) -> str:
    """Both values in columns, marked where they differ; below one another where a column is too narrow."""
    mark = " " if one == other else "*"
    one, other = printable(one), printable(other)
    if len(one) < WIDTH:
        return f"{mark} {name:<20}{one:<{WIDTH}}{other}".rstrip()
    return f"{mark} {name:<20}{one}\n  {'':<{20 + WIDTH}}{other}".rstrip()


def _shown(value: str | None) -> str:
    if value is None:
        return "(not there)"
    return printable(value) if value else "(empty)"


def _pixels(found: Mapping[str, Any]) -> str:
    if found["verdict"] == "same":
        return f"the same, decoded ({found['frames_of']:,} frames, {found['values_of']:,} values)"
    if found["verdict"] == "none":
        return "neither has any"
    if found["verdict"] == "unknown" or found["detail"]:
        return " ".join(filter(None, (found["verdict"] + ":", found["detail"])))
    return (
        f"different in {found['frames']:,} of {found['frames_of']:,} frames, {found['values']:,} of "
        f"{found['values_of']:,} values; the largest difference is {found['largest']:g}"
    )
