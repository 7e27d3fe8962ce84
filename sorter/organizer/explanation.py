"""Why an instance gets its place: each component of the path with all that it was made of; pure.

Made by the same code that makes the place: the pieces of the template choose here as they do there, and the
names are rendered by the same functions (``tests/property/test_explanation_properties.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sorter.model import Header, Place
from sorter.organizer.layout import Layout
from sorter.organizer.place import Facts, named_by
from sorter.organizer.template import SUFFIX, Component, Piece

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
ALIKE = "another patient has a folder that a file system may not tell from this one"
TAKEN = "another instance has the name without the SOP Instance UID"


@dataclass(frozen=True, slots=True)
class Tried:
    """One keyword of a field.

    Parameters
    ----------
    value
        As the header, or the record, has it; empty where there is none.
    text
        Clean and formatted, as it may stand in a name; empty where nothing readable is left.
    origin
        ``header``, or ``patient`` or ``study``: recorded when their first instance came.
    """

    keyword: str
    value: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Part:
    """One field or literal of a component; ``used`` is the keyword, or empty for the default and literals."""

    template: str
    text: str
    used: str = ""
    tried: tuple[Tried, ...] = ()

    @property
    def is_default(self) -> bool:
        """Whether no keyword of the field had a value."""
        return bool(self.tried) and not self.used


@dataclass(frozen=True, slots=True)
class Step:
    """One component of the path.

    Parameters
    ----------
    rule
        ``template``, or ``patient`` or ``series``: fixed on record by the first instance.
    mark
        What was appended (a hash, or the SOP Instance UID), and ``why``.
    changed
        Whether it had to be cut or repaired as a whole.
    """

    name: str
    rule: str
    template: str = ""
    parts: tuple[Part, ...] = ()
    mark: str = ""
    why: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """A path, component by component, and the date of the study with the element that gave it.

    Parameters
    ----------
    study_date_from
        A keyword, ``record`` for what the study's first instance had, or empty where there is no date.
    folder_by_template
        The folder that the template alone would make: of a series on record it may be another.
    """

    steps: tuple[Step, ...]
    study_date: str
    study_date_from: str
    folder_by_template: str

    @property
    def path(self) -> str:
        """The path that the steps make."""
        return "/".join(step.name for step in self.steps)


def explain(header: Header, place: Place, facts: Facts, layout: Layout) -> Explanation:
    """Explain the place that :func:`sorter.organizer.place.place` gave an instance that is new."""
    view, levels = named_by(header, facts)
    study = (header.patient, header.text("StudyInstanceUID"))
    known = facts.series.get((*study, header.text("SeriesInstanceUID")))
    if known is not None:
        folders = [Step(name, "series") for name in known.folder.split("/") if name]
    else:
        owner = facts.patients.get(header.patient)
        folders = list(_folders(view, place, owner.folder if owner else "", layout, levels))
    if study in facts.studies:
        date_from = "record" if place.study_date else ""
    else:
        date_from = next((keyword for keyword in DATES if header.text(keyword)), "")
    leaf = _leaf(view, place, layout, levels)
    by_template = layout.folder(view, place.patient_folder)
    return Explanation((*folders, leaf), place.study_date, date_from, by_template)


def _folders(
    view: Header, place: Place, recorded: str, layout: Layout, levels: Mapping[str, str]
) -> Iterator[Step]:
    for part, is_patient in layout.components[:-1]:
        if not is_patient:
            yield _step(part, part.render(view), view, levels)
        elif recorded:
            yield Step(recorded, "patient", part.text)
        else:
            yield _patient(part, view, place, layout, levels)


def _patient(part: Component, view: Header, place: Place, layout: Layout, levels: Mapping[str, str]) -> Step:
    plain = layout.patient_folder(view)
    name, why = plain, layout.why_marked(view)
    if place.patient_folder not in ("", plain):
        name, why = layout.patient_folder(view, distinct=True), ALIKE
    mark = f"-{name.rpartition('-')[2]}" if why else ""
    return _step(part, name, view, levels, mark=mark, why=why)


def _leaf(view: Header, place: Place, layout: Layout, levels: Mapping[str, str]) -> Step:
    part, _ = layout.components[-1]
    name = layout.leaf(view)
    if place.leaf == name:
        return _step(part, name, view, levels, ending=SUFFIX)
    name = layout.leaf(view, distinct=True)
    mark = f".{view.text('SOPInstanceUID')}"
    return _step(part, name, view, levels, mark=mark, why=TAKEN, ending=SUFFIX)


def _step(
    part: Component,
    name: str,
    view: Header,
    levels: Mapping[str, str],
    *,
    mark: str = "",
    why: str = "",
    ending: str = "",
) -> Step:
    parts = tuple(_part(piece, view, levels) for piece in part.pieces)
    joined = "".join(one.text for one in parts)
    return Step(
        name=name,
        rule="template",
        template=part.text + ending,
        parts=parts,
        mark=mark,
        why=why,
        changed=name != f"{joined}{mark}{ending}",
    )


def _part(piece: Piece, view: Header, levels: Mapping[str, str]) -> Part:
    chosen, text = piece.choose(view)
    tried = []
    for one in piece.alternatives:
        origin = levels.get(one.keyword, "header")
        tried.append(Tried(one.keyword, one.source(view), one.read(view), origin))
        if one is chosen:
            break
    return Part(piece.text, text, chosen.keyword if chosen else "", tuple(tried))
