"""Template and header to a relative path: always safe, and never one patient's folder for two; pure.

The language of templates is in :mod:`sorter.organizer.template`, the cleaning of names in
:mod:`sorter.organizer.names`. User's page: ``docs/layout.md``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from sorter.keywords import PATIENT_KEYWORDS, STUDY_KEYWORDS
from sorter.model import Header
from sorter.organizer.names import MAX_BYTES, component, identifier, path_key, unsafe_characters
from sorter.organizer.template import FIELD, MISSING, SUFFIX, Component, TemplateError, parse

__all__ = ["PRESETS", "Layout", "TemplateError", "path_key", "study_view"]

PRESETS: Mapping[str, str] = {
    "descriptive": (
        "{PatientID}/{StudyDate}/{StudyDescription|StudyID}/{SeriesDescription|ProtocolName|SeriesNumber}"
        "/{Modality}.{SeriesInstanceUID}.{InstanceNumber}.dcm"
    ),
    "uid": "{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm",
}

_UID_LENGTH = 64  # PS3.5 section 9.1
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_SHARED = frozenset((*PATIENT_KEYWORDS, *STUDY_KEYWORDS, *_DATES))
_LIKE_A_HASH = re.compile(r"-(?:[0-9a-f]{8}|[0-9a-f]{32})$", re.IGNORECASE)


class Layout:
    """Where instances lie in the archive, as one template says.

    Parameters
    ----------
    template
        The name of a preset or the text of a template. ``/`` separates folders and the file name;
        ``{Keyword}`` is a DICOM keyword (PS3.6), ``{A|B|text}`` the first that has a value,
        ``{StudyDate:%Y-%m}`` a date's format, ``{InstanceNumber:05}`` a whole number's width.

    Attributes
    ----------
    template : str
        The template's text, also where a preset was named.
    keywords : frozenset of str
        The DICOM keywords the template reads.
    leaf_is_its_own : bool
        Whether the file name reads nothing that a :func:`study_view` replaces.

    Raises
    ------
    TemplateError
        If the template cannot be used.
    """

    def __init__(self, template: str) -> None:
        if not set("{/.").intersection(template) and template not in PRESETS:
            raise TemplateError(f"{template!r} is no preset ({', '.join(PRESETS)}) and no template")
        self.template = PRESETS.get(template, template)
        *self._folders, self._leaf = parse(self.template)
        self.keywords = frozenset[str]().union(*(part.keywords for part in (*self._folders, self._leaf)))
        self._patient = next((part for part in self._folders if "PatientID" in part.keywords), None)
        if self._patient is not None:
            _require_constant(self._patient)
            # Only a PatientID between constant texts can be read back from the name.
            alone = sum(map(len, (piece.keywords for piece in self._patient.pieces))) == 1
            self._around = tuple(FIELD.split(self._patient.text)[::2]) if alone else None
            self._nobody = self._patient.render(Header())
        self.leaf_is_its_own = self._leaf.keywords.isdisjoint(_SHARED)

    def patient_folder(self, header: Header, *, distinct: bool = False) -> str:
        """The one component that carries the patient; ``""`` where the template has none.

        Distinct (IssuerOfPatientID, PatientID) get distinct folders: a hash of both is appended unless the
        component shows a PatientID without issuer unchanged. Case may still be the sole difference: compare
        by :func:`path_key`, and ask again with ``distinct``.

        Parameters
        ----------
        distinct
            Append the hash in any case; a longer one where it would be there anyway.
        """
        if self._patient is None:
            return ""
        name = self._patient.render(header)
        exact = not self._doubt(name, *header.patient)
        if exact and not distinct:
            return name
        issuer, patient_id = header.patient
        # The length keeps ("a", "bc") and ("ab", "c") apart.
        key = f"{len(issuer)}:{issuer}{patient_id}".encode(errors="surrogatepass")
        mark = "-" + hashlib.sha256(key).hexdigest()[: 32 if distinct and not exact else 8]
        return self._patient.render(header, MAX_BYTES - len(mark)) + mark

    def _doubt(self, name: str, issuer: str, patient_id: str) -> str:
        """Why the name alone does not lead back to the patient; empty where it does."""
        if self._around is None:
            return "the folder shows more than the Patient ID"
        if issuer:
            return "the patient has an Issuer of Patient ID"
        if not patient_id:
            return ""
        before, after = self._around
        if name != f"{before}{patient_id}{after}":
            return "the Patient ID does not stand there unchanged"
        if name.casefold() == self._nobody.casefold():
            return "it looks like the folder of files without Patient ID"
        return "it ends like a hash" if _LIKE_A_HASH.search(name) else ""

    def why_marked(self, header: Header) -> str:
        """Why the patient's component carries a hash of issuer and Patient ID; empty where it need not."""
        if self._patient is None:
            return ""
        return self._doubt(self._patient.render(header), *header.patient)

    @property
    def components(self) -> tuple[tuple[Component, bool], ...]:
        """The folders and, last, the file name without its suffix, each with whether it is the patient's."""
        return tuple((part, part is self._patient) for part in (*self._folders, self._leaf))

    def folder(self, header: Header, patient_folder: str) -> str:
        """The relative directory, separated by ``/``; empty where the template is a bare file name.

        Parameters
        ----------
        patient_folder
            The patient's component, from :meth:`patient_folder` or as recorded; where it is empty (recorded
            under a template without one) it is rendered.

        Raises
        ------
        ValueError
            If ``patient_folder`` is not one safe component.
        """
        patient_folder = patient_folder or self.patient_folder(header)
        if component(patient_folder) != patient_folder or unsafe_characters(patient_folder):
            raise ValueError("the patient's folder is not one safe component")
        return "/".join(
            [patient_folder if part is self._patient else part.render(header) for part in self._folders]
        )

    def leaf(self, header: Header, *, distinct: bool = False) -> str:
        """The file name, ending in ``.dcm``; with ``distinct`` the SOP Instance UID stands before that."""
        return self.leaves(header)[distinct]

    def leaves(self, header: Header) -> tuple[str, str]:
        """The file name, and the distinct one that an instance gets where the name is taken."""
        texts = self._leaf.texts(header)
        uid = component(identifier(header.text("SOPInstanceUID")) or MISSING, _UID_LENGTH)
        suffix = f".{uid}{SUFFIX}"
        plain, room = self._leaf.fit(texts, MAX_BYTES - len(SUFFIX)), MAX_BYTES - len(suffix.encode())
        whole = len("".join(texts).encode()) < room  # then nothing is cut from the distinct one either
        return plain + SUFFIX, (plain if whole else self._leaf.fit(texts, room)) + suffix


def _require_constant(part: Component) -> None:
    """Refuse a patient's component that would change within the patient."""
    if others := part.keywords.difference(PATIENT_KEYWORDS):
        raise TemplateError(
            f"{part.text!r}: the folder with {{PatientID}} is one for all studies of a patient; "
            f"put {{{min(others)}}} into a folder of its own"
        )


def study_view(header: Header, *, patient: Mapping[str, str | int], study: Mapping[str, str | int]) -> Header:
    """The header with what was recorded of its patient and study in place, so that one study never splits.

    Parameters
    ----------
    patient, study
        Recorded values by keyword; empty where the patient or study is new. What is not recorded of a known
        one counts as missing. ``study["StudyDate"]`` is the study's fixed date, empty or absent for none.

    Notes
    -----
    Instances without any PatientID share a record but may be of different people: they keep their own
    patient values, so that nobody's data lie under somebody else's name.
    """
    values = dict(header.values)
    for _, keywords, recorded in _overlays(header, patient, study):
        for keyword in keywords:
            values.pop(keyword, None)
            if (value := recorded.get(keyword, "")) != "":
                values[keyword] = value
    return Header(values)


def recorded_keywords(
    header: Header, *, patient: Mapping[str, str | int], study: Mapping[str, str | int]
) -> dict[str, str]:
    """Which keywords of a :func:`study_view` are not the header's own, with ``patient`` or ``study``."""
    overlays = _overlays(header, patient, study)
    return {keyword: level for level, keywords, _ in overlays for keyword in keywords}


def _overlays(
    header: Header, patient: Mapping[str, str | int], study: Mapping[str, str | int]
) -> list[tuple[str, tuple[str, ...], Mapping[str, str | int]]]:
    """(level, keywords, their recorded values) that take the place of the header's own."""
    found: list[tuple[str, tuple[str, ...], Mapping[str, str | int]]] = []
    if patient and any(header.patient):
        found.append(("patient", PATIENT_KEYWORDS, patient))
    if study:
        # Where no date was recorded, none of those that stand in for it may move the study now.
        dated = study.get("StudyDate")
        found.append(("study", STUDY_KEYWORDS if dated else (*STUDY_KEYWORDS, *_DATES), study))
    return found
