"""What the tests of the index share: outcomes as ingest makes them."""

import hashlib

from sorter.model import Candidate, Header, Instance, Kind, Outcome, Pixels, Place

UID = "1.2.826.0.1.3680043.10.2"
NATIVE = "1.2.840.10008.1.2.1"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def candidate(name="a.dcm", folder="/drop", *, device=1, inode=2, size=3, mtime_ns=4, ctime_ns=5):
    return Candidate(folder, name, device, inode, size, mtime_ns, ctime_ns, "/drop")


def header(number=1, *, series=1, study=1, patient="P1", issuer="", **more):
    values = {
        "PatientID": patient,
        "IssuerOfPatientID": issuer,
        "PatientName": "Test^Person",
        "StudyInstanceUID": f"{UID}.{study}",
        "StudyDate": f"2024010{study}",
        "StudyDescription": "Head",
        "SeriesInstanceUID": f"{UID}.{study}.{series}",
        "SeriesNumber": series,
        "Modality": "CT",
        "SOPInstanceUID": f"{UID}.{study}.{series}.{number}",
        "InstanceNumber": number,
        **more,
    }
    return Header({keyword: value for keyword, value in values.items() if value not in ("", None)})


def instance(head, *, size=100):
    uid = head.text("SOPInstanceUID")
    return Instance(head, digest(f"source {uid}"), digest(uid), size, NATIVE, NATIVE, Pixels.NATIVE)


def place(head, key=None):
    patient = head.text("PatientID").lower()
    folder = f"{patient}/{head.study_date}/{head.text('SeriesInstanceUID')}"
    number = int(digest("\0".join(head.patient))[:15], 16) if key is None else key
    return Place(patient, number, head.study_date, folder, "leaf", "spare")


def path_key(path):
    return int(digest(path)[:15], 16)


def outcome(head, source=None, kind=Kind.STORED, **more):
    """One outcome of an instance; its source is named after it."""
    uid = head.text("SOPInstanceUID")
    path = f"{place(head).folder}/{uid}.dcm"
    source = source or candidate(f"{uid}.dcm")
    return Outcome(source, kind, path=path, source_sha256=digest(uid), instance=instance(head), **more)


def record(index, *outcomes, places=None):
    """Record outcomes as ingest does."""
    stored = [one for one in outcomes if one.kind is Kind.STORED and one.instance]
    if places is None:
        places = {one.instance.header.text("SOPInstanceUID"): place(one.instance.header) for one in stored}
    keys = {one.instance.header.text("SOPInstanceUID"): path_key(one.path) for one in stored}
    index.record(outcomes, places, keys)
