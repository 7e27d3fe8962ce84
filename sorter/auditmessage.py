"""Audit messages of PS3.15 A.5, as XML elements of the schema in A.5.1.1.

They name studies and patient IDs, which the profile asks for, and nothing else of what headers hold.
"""

from __future__ import annotations

import base64
import datetime
import os
import pwd
import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement

from sorter.model import Candidate, Kind, Outcome

SUCCESS, _MINOR, SERIOUS, _MAJOR = "0", "4", "8", "12"  # Event Outcome Indicator, PS3.15 A.5.2
# What XML 1.0 cannot hold, and what may end a line.
_UNFIT = re.compile("[^ -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Code = tuple[str, str, str]  # value, coding scheme, meaning
_Group = tuple[str, str, str, Kind]  # study, patient, drop folder, outcome
# PS3.16 CID 400, 401, 402, 403, 405; PS3.15 A.5.1.2.4.
_ACTIVITY: Code = ("110100", "DCM", "Application Activity")
START: Code = ("110120", "DCM", "Application Start")
STOP: Code = ("110121", "DCM", "Application Stop")
_IMPORT: Code = ("110107", "DCM", "Import")
_ALERT: Code = ("110113", "DCM", "Security Alert")
_OBJECT_CHANGED: Code = ("110135", "DCM", "Object Security Attributes Changed")
_RESTRICTED: Code = ("110132", "DCM", "Use of Restricted Function")
_APPLICATION: Code = ("110150", "DCM", "Application")
_LAUNCHER: Code = ("110151", "DCM", "Application Launcher")
_DESTINATION: Code = ("110152", "DCM", "Destination Role ID")
_SOURCE_MEDIA: Code = ("110155", "DCM", "Source Media")
_URI_MEDIA: Code = ("110037", "DCM", "URI")
_STUDY: Code = ("110180", "DCM", "Study Instance UID")
_PATIENT: Code = ("2", "RFC-3881", "Patient Number")
_URI: Code = ("12", "RFC-3881", "URI")


class Alert(StrEnum):
    """What a security alert is about."""

    TAMPERING = "tampering"  # the ledger, or the archive, is not what it was
    DAMAGED = "damaged"  # an archived file has other bytes
    MISSING = "missing"  # an archived file is gone
    BLOCKED = "blocked"  # something stands where a folder of the archive must be, such as a planted symlink


_ALERTS: Mapping[Alert, tuple[Code, str]] = {
    Alert.TAMPERING: (_OBJECT_CHANGED, _MAJOR),
    Alert.DAMAGED: (_OBJECT_CHANGED, _MAJOR),
    Alert.MISSING: (_OBJECT_CHANGED, _MAJOR),
    Alert.BLOCKED: (_RESTRICTED, _MINOR),
}


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: this process, its user and its host."""

    command: str
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @property
    def user(self) -> str:
        """The login name, or the number where there is none."""
        try:
            return pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            return str(os.geteuid())


def activity(by: Reporter, what: Code, outcome: str = SUCCESS) -> Element:
    """Application Activity, PS3.15 A.5.3.1."""
    message = _message(_ACTIVITY, "E", outcome, (what,))
    _participant(message, str(by.pid), _APPLICATION, name=f"sorter {by.command}", host=by.host)
    _participant(message, f"{by.user}@{by.host}", _LAUNCHER, requestor=True)
    _source(message, by)
    return message


def imports(by: Reporter, outcomes: Sequence[Outcome], drops: Sequence[str] = ()) -> list[Element]:
    """Data Import, PS3.15 A.5.3.5: a message for each study, source and result.

    Parameters
    ----------
    drops
        The drop folders, absolute: what came out of a zip or a volume knows only where this lies.
    """
    groups: dict[_Group, Counter[str]] = {}
    for one in outcomes:
        if one.instance is not None and one.kind in (Kind.STORED, Kind.CONFLICT):
            header = one.instance.header
            study, patient = header.text("StudyInstanceUID"), header.text("PatientID")
            key = (study, patient, _drop_folder(one.candidate, drops), one.kind)
            groups.setdefault(key, Counter())[header.text("SOPClassUID")] += 1
    return [_import(by, key, classes) for key, classes in groups.items()]


def _drop_folder(candidate: Candidate, drops: Sequence[str]) -> str:
    """The drop folder that it lies in; empty where it was brought in from elsewhere."""
    inside = f"{candidate.folder}/"
    return candidate.root or next((drop for drop in drops if inside.startswith(f"{drop}/")), "")


def _import(by: Reporter, group: _Group, classes: Mapping[str, int]) -> Element:
    study, patient, root, kind = group
    stored = kind is Kind.STORED
    message = _message(_IMPORT, "C", SUCCESS if stored else _MINOR)
    if not stored:
        description = SubElement(message[0], "EventOutcomeDescription")
        description.text = "other content under a known SOP Instance UID: in quarantine"
    name = f"sorter {by.command}"
    _participant(message, str(by.pid), _DESTINATION, name=name, host=by.host, requestor=True)
    # Paths elsewhere may name patients; the host says enough of where they came from.
    media = _participant(message, uri(by.host, root or "/"), _SOURCE_MEDIA)
    _code(SubElement(media, "MediaIdentifier"), "MediaType", _URI_MEDIA)
    _source(message, by)
    object_ = _object(message, study, _STUDY, kind="2", role="3")
    description = SubElement(object_, "ParticipantObjectDescription")
    for uid, count in sorted(classes.items()):
        SubElement(description, "SOPClass", UID=_text(uid), NumberOfInstances=str(count))
    _object(message, patient or "unknown", _PATIENT, kind="1", role="1")
    return message


def security_alert(by: Reporter, kind: Alert, detail: str, subject: str) -> Element:
    """Security Alert, PS3.15 A.5.3.11, about a URI. The second type code is ours, and says more."""
    code, outcome = _ALERTS[kind]
    message = _message(_ALERT, "E", outcome, (code, (str(kind), "99SORTER", str(kind).capitalize())))
    _participant(message, str(by.pid), _APPLICATION, name=f"sorter {by.command}", host=by.host)
    _source(message, by)
    object_ = _object(message, subject, _URI, kind="2", role="13")
    value = base64.b64encode(_text(detail).encode()).decode("ascii")
    SubElement(object_, "ParticipantObjectDetail", type="Alert Description", value=value)
    return message


def _message(event: Code, action: str, outcome: str, types: Sequence[Code] = ()) -> Element:
    message = Element("AuditMessage")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    head = SubElement(
        message,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=now,
        EventOutcomeIndicator=outcome,
    )
    _code(head, "EventID", event)
    for one in types:
        _code(head, "EventTypeCode", one)
    return message


def _participant(
    message: Element, user: str, role: Code, *, name: str = "", host: str = "", requestor: bool = False
) -> Element:
    attributes = {"UserID": _text(user), "UserIsRequestor": str(requestor).lower()}
    if name:
        attributes["UserName"] = name
    if host:
        attributes |= {"NetworkAccessPointID": _text(host), "NetworkAccessPointTypeCode": "1"}  # machine name
    participant = SubElement(message, "ActiveParticipant", attributes)
    _code(participant, "RoleIDCode", role)
    return participant


def _source(message: Element, by: Reporter) -> None:
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=f"sorter@{_text(by.host)}")
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process


def _object(message: Element, number: str, code: Code, *, kind: str, role: str) -> Element:
    object_ = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(number),
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _code(object_, "ParticipantObjectIDTypeCode", code)
    # The schema asks for a name, the tables do not. A patient's name is more than needs to be told.
    SubElement(object_, "ParticipantObjectName").text = _text(number)
    return object_


def _code(parent: Element, name: str, code: Code) -> None:
    value, scheme, meaning = code
    SubElement(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})


def uri(host: str, path: str | Path) -> str:
    """A path on a host as a URI."""
    return f"file://{quote(host)}{quote(os.fsencode(path))}"


def _text(value: str) -> str:
    """The value, fit for one line of XML."""
    return _UNFIT.sub("\ufffd", value)
