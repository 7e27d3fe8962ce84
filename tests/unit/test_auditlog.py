"""The audit trail: messages of the schema in PS3.15 A.5.1.1, appended, synced, nothing clinical in them."""

import base64
import datetime
import os
import stat
from xml.etree import ElementTree

import pytest
from index_samples import candidate, header, instance
from inline import config
from structlog.testing import capture_logs

from sorter import auditlog, auditmessage
from sorter.auditlog import Alert, AuditTrail
from sorter.errors import ConfigError
from sorter.model import Candidate, Kind, Outcome, Reason

CT = "1.2.840.10008.5.1.4.1.1.2"
CODE = {"csd-code", "codeSystemName", "originalText"}
# PS3.15 A.5.1.1: element -> (attributes required, attributes allowed, children in order with their counts).
ONE, SOME, ANY, MAYBE = (1, 1), (1, None), (0, None), (0, 1)
SCHEMA = {
    "AuditMessage": (
        set(),
        set(),
        [
            ("EventIdentification", ONE),
            ("ActiveParticipant", SOME),
            ("AuditSourceIdentification", ONE),
            ("ParticipantObjectIdentification", ANY),
        ],
    ),
    "EventIdentification": (
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
        [("EventID", ONE), ("EventTypeCode", ANY), ("EventOutcomeDescription", MAYBE)],
    ),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
        [("RoleIDCode", ANY), ("MediaIdentifier", MAYBE)],
    ),
    "MediaIdentifier": (set(), set(), [("MediaType", ONE)]),
    "AuditSourceIdentification": (
        {"AuditSourceID"},
        {"AuditEnterpriseSiteID"},
        [("AuditSourceTypeCode", ANY)],
    ),
    "AuditSourceTypeCode": ({"csd-code"}, CODE, []),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID"},
        {
            "ParticipantObjectTypeCode",
            "ParticipantObjectTypeCodeRole",
            "ParticipantObjectDataLifeCycle",
            "ParticipantObjectSensitivity",
        },
        [
            ("ParticipantObjectIDTypeCode", ONE),
            ("ParticipantObjectName", ONE),
            ("ParticipantObjectDetail", ANY),
            ("ParticipantObjectDescription", ANY),
        ],
    ),
    "ParticipantObjectName": (set(), set(), []),
    "EventOutcomeDescription": (set(), set(), []),
    "ParticipantObjectDetail": ({"type", "value"}, set(), []),
    "ParticipantObjectDescription": (set(), set(), [("SOPClass", ANY)]),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}, []),
    **{
        name: (CODE, {"displayName"}, [])
        for name in ("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode")
    },
}
VALUES = {
    "EventActionCode": set("CRUDE"),
    "EventOutcomeIndicator": {"0", "4", "8", "12"},
    "UserIsRequestor": {"true", "false"},
    "NetworkAccessPointTypeCode": set("12345"),
    "ParticipantObjectTypeCode": set("1234"),
    "ParticipantObjectTypeCodeRole": {str(number) for number in range(1, 27)},
}


def check(element):
    """An element, and all in it, is as the schema says."""
    required, allowed, children = SCHEMA[element.tag]
    assert required <= set(element.attrib) <= required | allowed, element.tag
    for key, value in element.attrib.items():
        assert value in VALUES.get(key, {value}), (element.tag, key)
    names = [child.tag for child in element]
    ordered = [name for name, _ in children for found in names if found == name]
    assert names == ordered, "in the order of the schema, and no others"
    for name, (least, most) in children:
        assert least <= names.count(name) <= (most or len(names)), (element.tag, name)
    for child in element:
        check(child)


def messages(path):
    """All messages of a trail, each checked against the schema."""
    found = [ElementTree.fromstring(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for message in found:
        check(message)
        when = datetime.datetime.fromisoformat(message[0].get("EventDateTime"))
        assert when.utcoffset() == datetime.timedelta(0)
    return found


def codes(message, path):
    return [one.get("csd-code") for one in message.findall(path)]


def stored(number=1, kind=Kind.STORED, root="/srv/in", **more):
    head = header(number, SOPClassUID=more.pop("sop_class", CT), **more)
    one = candidate(f"{number}.dcm", "/srv/in/Doe^John")
    return Outcome(
        Candidate(one.folder, one.name, *one.version, root), kind, path="p1/x.dcm", instance=instance(head)
    )


def dcm_codes():
    from pydicom.sr._concepts_dict import concepts

    for named in concepts["DCM"].values():
        for value, (meaning, _) in named.items():
            yield value, meaning


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log" / "audit.xml"


@pytest.fixture
def trail(tmp_path, path):
    path.parent.mkdir()
    opened = AuditTrail(config(tmp_path, audit_log=path))
    yield opened
    opened.close()


def test_start_and_stop_are_application_activity(trail, path):
    trail.close()
    found = messages(path)
    assert [codes(one, "EventIdentification/EventID") for one in found] == [["110100"], ["110100"]]
    assert [codes(one, "EventIdentification/EventTypeCode") for one in found] == [["110120"], ["110121"]]
    assert codes(found[0], "ActiveParticipant/RoleIDCode") == ["110150", "110151"]
    assert found[0].find("ActiveParticipant").get("UserID") == str(os.getpid())


def test_an_error_ends_in_a_stop_that_failed(tmp_path, path):
    path.parent.mkdir()
    with pytest.raises(ZeroDivisionError), AuditTrail(config(tmp_path, audit_log=path), "rescan"):
        _ = 1 / 0
    assert [one[0].get("EventOutcomeIndicator") for one in messages(path)] == ["0", "8"]
    assert messages(path)[0].find("ActiveParticipant").get("UserName") == "sorter rescan"


def test_a_batch_is_one_import_for_each_study(trail, path):
    seg = "1.2.840.10008.5.1.4.1.1.66.4"
    trail.note([stored(1), stored(2), stored(3, sop_class=seg), stored(4, study=2, patient="P2")])
    first, second = messages(path)[1:]
    assert codes(first, "EventIdentification/EventID") == ["110107"]
    assert first[0].get("EventActionCode") == "C"
    classes = first.findall("ParticipantObjectIdentification/ParticipantObjectDescription/SOPClass")
    assert [(one.get("UID"), one.get("NumberOfInstances")) for one in classes] == [(CT, "2"), (seg, "1")]
    ids = [one.get("ParticipantObjectID") for one in second.findall("ParticipantObjectIdentification")]
    assert ids == [header(1, study=2).text("StudyInstanceUID"), "P2"]


def test_an_import_has_the_participants_of_its_table(trail, path):
    """PS3.15 A.5.3.5: the process that imports, the source media, the study, the patient."""
    trail.note([stored(1)])
    message = messages(path)[1]
    process, media = message.findall("ActiveParticipant")
    assert (process.get("UserIsRequestor"), codes(process, "RoleIDCode")) == ("true", ["110152"])
    assert (media.get("UserIsRequestor"), codes(media, "RoleIDCode")) == ("false", ["110155"])
    assert codes(media, "MediaIdentifier/MediaType") == ["110037"]
    assert media.get("UserID").startswith("file://")
    assert media.get("UserID").endswith("/srv/in")
    objects = message.findall("ParticipantObjectIdentification")
    kinds = [(o.get("ParticipantObjectTypeCode"), o.get("ParticipantObjectTypeCodeRole")) for o in objects]
    assert kinds == [("2", "3"), ("1", "1")]
    assert codes(message, "ParticipantObjectIdentification/ParticipantObjectIDTypeCode") == ["110180", "2"]


def test_conflicts_are_a_message_of_their_own_that_failed(trail, path):
    trail.note([stored(1), stored(2, Kind.CONFLICT)])
    assert [one[0].get("EventOutcomeIndicator") for one in messages(path)[1:]] == ["0", "4"]


def test_what_brings_nothing_in_has_no_message(trail, path):
    refused = Outcome(candidate(), Kind.REJECTED, Reason.TRUNCATED)
    trail.note([stored(1, Kind.DUPLICATE), stored(2, Kind.EQUIVALENT), refused])
    assert len(messages(path)) == 1


def test_nothing_else_of_headers_and_paths_is_told(trail, path):
    more = {"PatientName": "Doe^Jane", "PatientBirthDate": "19031207", "AccessionNumber": "A4711"}
    trail.note([stored(1, InstitutionName="Canaryville", **more)])
    text = path.read_text()
    assert [
        word for word in ("Doe", "19031207", "A4711", "Canaryville", "x.dcm", "20240101") if word in text
    ] == []


def test_paths_given_by_hand_are_not_told(trail, path):
    trail.note([stored(1, root="")])
    _, media = messages(path)[1].findall("ActiveParticipant")
    assert media.get("UserID").count("/") == 3
    assert media.get("UserID").endswith("/")


def test_a_patient_without_an_id_is_unknown(trail, path):
    trail.note([stored(1, patient="")])
    assert messages(path)[1][-1].get("ParticipantObjectID") == "unknown"


def test_values_that_xml_cannot_hold_or_that_break_lines_stay_one_whole_line(trail, path):
    trail.note([stored(1, patient="a\x00\ud800\n<&\"'>\ufffe")])
    assert messages(path)[1][-1].get("ParticipantObjectID") == "a\ufffd\ufffd\ufffd<&\"'>\ufffd"


@pytest.mark.parametrize(
    ("kind", "code", "result"),
    [
        (Alert.TAMPERING, "110135", "12"),
        (Alert.DAMAGED, "110135", "12"),
        (Alert.MISSING, "110135", "12"),
        (Alert.BLOCKED, "110132", "4"),
    ],
)
def test_an_alert_says_what_about_which_instance(trail, path, kind, code, result):
    trail.alert(kind, "batch 7 is gone", sop_instance_uid="1.2.3")
    message = messages(path)[1]
    assert codes(message, "EventIdentification/EventID") == ["110113"]
    assert codes(message, "EventIdentification/EventTypeCode") == [code, str(kind)]
    assert (message[0].get("EventActionCode"), message[0].get("EventOutcomeIndicator")) == ("E", result)
    subject = message.find("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == "urn:oid:1.2.3"
    detail = subject.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value")) == b"batch 7 is gone"


def test_an_alert_about_the_archive_names_it(trail, path, tmp_path):
    trail.alert(Alert.TAMPERING, "a batch is gone")
    assert messages(path)[1][-1].get("ParticipantObjectID").endswith(f"{tmp_path}/archive")


def test_what_is_blocked_is_an_alert_once_in_a_while(trail, path):
    blocked = Outcome(candidate(), Kind.DEFERRED, Reason.BLOCKED)
    trail.note([blocked])
    trail.note([blocked])
    assert [codes(one, "EventIdentification/EventID") for one in messages(path)[1:]] == [["110113"]]


def test_all_dcm_codes_are_those_of_ps3_16():
    """pydicom generates its dictionary from the standard: CID 400 to 405 and DCM's own codes."""
    used = [one for one in vars(auditmessage).values() if isinstance(one, tuple) and one[1:2] == ("DCM",)]
    known = {(value, meaning.lower()) for value, meaning in dcm_codes()}
    assert [one for one in used if (one[0], one[2].lower()) not in known] == []
    assert len(used) == 13


# -- the file -----------------------------------------------------------------------------------------


def test_without_a_file_nothing_happens(tmp_path):
    with AuditTrail(config(tmp_path)) as trail:
        trail.note([stored(1)])
        trail.alert(Alert.DAMAGED, "x")
        assert trail.work(0.0) is None
        assert trail.report() == {}


def test_the_group_may_read_and_others_may_not(trail, path):
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0


def test_a_second_run_appends(tmp_path, path):
    path.parent.mkdir()
    for _ in range(2):
        AuditTrail(config(tmp_path, audit_log=path)).close()
    assert len(messages(path)) == 4


def test_a_rotated_file_is_left_and_a_new_one_begun(trail, path):
    old = path.with_suffix(".1")
    path.rename(old)
    trail.note([stored(1)])
    assert (len(messages(old)), len(messages(path))) == (1, 1)


def test_a_line_that_a_crash_left_half_written_is_ended_first(tmp_path, path):
    path.parent.mkdir()
    path.write_text("<AuditMessage><EventId")
    AuditTrail(config(tmp_path, audit_log=path)).close()
    first, *others = path.read_text().splitlines()
    assert first == "<AuditMessage><EventId"
    assert len(others) == 2


def test_each_batch_is_synced(trail, path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    trail.note([stored(1), stored(2, study=2)])
    assert synced == [path.stat().st_ino]


@pytest.mark.parametrize("where", ["folder", "missing"])
def test_a_file_that_cannot_be_written_at_the_start_is_an_error_of_the_configuration(tmp_path, where):
    target = tmp_path if where == "folder" else tmp_path / "missing" / "audit.xml"
    with pytest.raises(ConfigError, match="audit_log"):
        AuditTrail(config(tmp_path, audit_log=target))


def test_a_pipe_is_no_audit_trail(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="audit_log"):
        AuditTrail(config(tmp_path, audit_log=tmp_path / "pipe"))


@pytest.mark.parametrize("folder", ["in", "archive"])
def test_a_file_within_the_drop_folder_or_the_archive_is_an_error(tmp_path, folder):
    (tmp_path / folder).mkdir()
    with pytest.raises(ConfigError, match="lies inside"):
        AuditTrail(config(tmp_path, audit_log=tmp_path / folder / "audit.xml"))


def test_messages_that_cannot_be_written_later_are_kept_until_they_can(trail, path, monkeypatch):
    write = os.write

    def full(_fd, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with capture_logs() as lines:
        trail.note([stored(1)])
        trail.note([stored(2)])
    assert [line["event"] for line in lines] == ["audit_trail_failed"]
    assert trail.report()["audit_trail"] == {"written": 1, "waiting": 2, "lost": 0}
    assert trail.work(100.0) == 105.0
    monkeypatch.setattr(os, "write", write)
    trail.work(105.0)
    assert len(messages(path)) == 3
    assert trail.report()["audit_trail"] == {"written": 3, "waiting": 0, "lost": 0}


def test_a_line_that_a_full_disk_cut_is_written_again_whole(trail, path, monkeypatch):
    write = os.write

    def half(fd, data):
        monkeypatch.setattr(os, "write", full)
        return write(fd, data[: len(data) // 2])

    def full(_fd, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    trail.note([stored(1)])
    monkeypatch.setattr(os, "write", write)
    trail.work(0.0)
    start, cut, whole = path.read_text().splitlines()
    assert whole.startswith(cut)
    check(ElementTree.fromstring(whole))
    check(ElementTree.fromstring(start))


def test_what_waits_is_bounded_and_what_is_lost_is_counted(trail, monkeypatch):
    monkeypatch.setattr(auditlog, "MOST_KEPT", 2)

    def full(_fd, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for number in range(1, 6):
        trail.note([stored(number)])
    assert trail.report()["audit_trail"] == {"written": 1, "waiting": 2, "lost": 3}
