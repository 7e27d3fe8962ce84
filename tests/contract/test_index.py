"""What the index promises, on every database: SQLite, and PostgreSQL where SORTER_TEST_POSTGRES has a URL.

SORTER_TEST_POSTGRES=postgresql+psycopg://user@/database?host=/run/postgresql names a database whose schema
``public`` these tests may drop.
"""

import os
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from index_samples import UID, candidate, digest, header, instance, outcome, path_key, place, record
from sqlalchemy import create_engine, inspect, text

from sorter.errors import ConfigError, IndexUnusableError, SchemaTooNewError
from sorter.index import Index
from sorter.index.find import LEVELS
from sorter.index.schema import column_name, metadata
from sorter.keywords import INDEXED_KEYWORDS
from sorter.model import Kind, Outcome, Reason, Staged
from sorter.organizer.judge import Verdict
from sorter.organizer.layout import Layout
from sorter.organizer.layout import path_key as layout_key
from sorter.organizer.place import place as choose

POSTGRES = os.environ.get("SORTER_TEST_POSTGRES")


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/index.sqlite"
    url = POSTGRES
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def index(url):
    opened = Index.open(url)
    yield opened
    opened.close()


@pytest.fixture
def sql(url):
    engine = create_engine(url)
    yield lambda query: [tuple(row) for row in _rows(engine, query)]
    engine.dispose()


def _rows(engine, query):
    with engine.begin() as connection:
        result = connection.execute(text(query))
        return result.all() if result.returns_rows else []


@pytest.mark.skipif(not POSTGRES, reason="no PostgreSQL: set SORTER_TEST_POSTGRES to an expendable database")
def test_the_contract_ran_on_postgresql_too():
    assert POSTGRES.startswith("postgresql")


# -- opening -------------------------------------------------------------------------------------------


def test_a_new_index_is_empty(index):
    expected = {"patients": 0, "studies": 0, "series": 0, "instances": 0, "bytes": 0, "outcomes": {}}
    assert index.counts() == expected | {"reasons": {}}


def test_what_was_recorded_is_there_when_opened_again(url, index):
    record(index, outcome(header()))
    index.close()
    again = Index.open(url)
    assert again.counts()["instances"] == 1
    again.close()


def test_migrations_lead_to_the_tables_of_the_schema(index, url):
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_as_it_is(url, index, sql):
    record(index, outcome(header()))
    index.close()
    sql("UPDATE alembic_version SET version_num = '9999'")
    for read_only in (False, True):
        with pytest.raises(SchemaTooNewError, match="newer sorter"):
            Index.open(url, read_only=read_only)
    assert sql("SELECT count(*) FROM instances") == [(1,)]


def test_a_database_of_something_else_is_refused(url, sql):
    sql("CREATE TABLE recipes (id INTEGER)")
    with pytest.raises(IndexUnusableError, match="not an index"):
        Index.open(url)
    assert sql("SELECT count(*) FROM recipes") == [(0,)]


# -- recording and looking up --------------------------------------------------------------------------


def test_a_stored_instance_is_known_with_its_patient_study_and_series(index):
    one = header()
    record(index, outcome(one))
    known = index.lookup([one])
    patient, study, series = ("", "P1"), f"{UID}.1", f"{UID}.1.1"
    row = known.instances[f"{UID}.1.1.1"]
    assert (row.sha256, row.patient) == (digest(f"{UID}.1.1.1"), patient)
    assert row.path == f"p1/20240101/{series}/{UID}.1.1.1.dcm"
    assert known.patients[patient].folder == "p1"
    assert known.patients[patient].values == {"PatientID": "P1", "PatientName": "Test^Person"}
    assert known.studies[patient, study].date == "20240101"
    assert known.studies[patient, study].values["StudyDescription"] == "Head"
    assert known.series[patient, study, series].folder == f"p1/20240101/{series}"


def test_nothing_is_known_of_what_was_not_recorded(index):
    record(index, outcome(header()))
    known = index.lookup([header(study=2, patient="P2")])
    assert (known.instances, known.patients, known.studies, known.series) == ({}, {}, {}, {})


def test_every_indexed_keyword_comes_back_as_it_went_in(index):
    values = {keyword: f"Müller {keyword} 山田" for keyword in INDEXED_KEYWORDS}
    values |= {"SOPInstanceUID": "1.2", "InstanceNumber": -3, "Rows": 512, "NumberOfFrames": 1}
    for keyword in (
        "SeriesNumber",
        "AcquisitionNumber",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "SamplesPerPixel",
    ):
        values[keyword] = 7
    one = header(**values)
    record(index, outcome(one))
    (row,) = index.find({}, level="instance")
    assert {keyword: row[column_name(keyword)] for keyword in INDEXED_KEYWORDS} == one.values


def test_numbers_of_eighteen_digits_are_recorded(index):
    """As many digits as the parser lets through."""
    record(index, outcome(header(InstanceNumber=10**18 - 1)))
    assert [row["instance_number"] for row in index.find({}, level="instance")] == [10**18 - 1]


def test_what_the_first_instance_says_of_its_patient_and_study_stays(index):
    record(index, outcome(header(1)))
    record(index, outcome(header(2, PatientName="Other^Name", StudyDescription="Neck")))
    known = index.lookup([header(2)])
    assert known.patients["", "P1"].values["PatientName"] == "Test^Person"
    assert known.studies[("", "P1"), f"{UID}.1"].values["StudyDescription"] == "Head"
    assert index.counts()["instances"] == 2


def test_the_first_of_one_batch_speaks_for_its_study(index):
    record(index, outcome(header(1)), outcome(header(2, StudyDescription="Neck")))
    known = index.lookup([header(1)])
    assert known.studies[("", "P1"), f"{UID}.1"].values["StudyDescription"] == "Head"


def test_one_patient_id_of_two_issuers_is_two_patients(index):
    record(index, outcome(header(1, issuer="A")), outcome(header(2, study=2, issuer="B")))
    assert index.counts()["patients"] == 2
    assert set(index.lookup([header(issuer="A")]).patients) == {("A", "P1"), ("B", "P1")}


def test_a_study_instance_uid_of_two_patients_is_two_studies(index):
    record(index, outcome(header(1)), outcome(header(2, patient="P2")))
    assert [index.counts()[level] for level in ("patients", "studies", "series")] == [2, 2, 2]


def test_patients_that_differ_only_in_case_are_two(index):
    record(index, outcome(header(1, patient="p")), outcome(header(2, study=2, patient="P")))
    assert index.counts()["patients"] == 2


def test_two_patients_never_get_one_folder(index):
    first, second = header(1), header(2, study=2, patient="P2")
    record(index, outcome(first), places={f"{UID}.1.1.1": place(first, key=7)})
    with pytest.raises(IndexUnusableError):
        record(index, outcome(second), places={f"{UID}.2.1.2": place(second, key=7)})
    assert index.folder_owners([7, 8]) == {7: ("", "P1")}


def test_patients_without_a_folder_do_not_compete(index):
    outcomes = [outcome(header(1)), outcome(header(2, study=2, patient="P2"))]
    places = {
        one.instance.header.text("SOPInstanceUID"): place(one.instance.header)._replace(
            patient_folder="", patient_folder_key=None
        )
        for one in outcomes
    }
    record(index, *outcomes, places=places)
    assert index.counts()["patients"] == 2


def test_path_keys_in_use_are_taken_among_thousands(index):
    one = outcome(header())
    record(index, one)
    key = path_key(one.path)
    assert index.taken([*range(3000), key]) == {key}
    assert index.taken([]) == set()


def test_paths_under_a_folder_are_those_of_just_this_folder(index):
    one, two, other = outcome(header(1)), outcome(header(2)), outcome(header(1, series=2))
    record(index, one, two, other)
    folder = place(header(1)).folder
    assert index.paths_under(folder) == {one.path, two.path}
    assert index.paths_under(folder.rpartition("/")[0]) == set()


def test_a_failed_batch_leaves_nothing(index):
    """A batch that holds a recorded SOP Instance UID is refused whole, its new patients too."""
    record(index, outcome(header(1)))
    before = index.counts()
    with pytest.raises(IndexUnusableError):
        record(index, outcome(header(9, study=9, patient="P9")), outcome(header(1), candidate("again")))
    assert index.counts() == before
    assert index.lookup([header(9, study=9, patient="P9")]).patients == {}


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.rename(f"{path}.old")])
def test_nothing_is_recorded_in_a_file_that_has_lost_its_name(tmp_path, change):
    """A daemon would go on for weeks, and all its rows be gone with its last descriptor."""
    path = tmp_path / "index.sqlite"
    with closing(Index.open(path)) as index:
        record(index, outcome(header(1)))
        change(path)
        with pytest.raises(IndexUnusableError, match="removed or replaced"):
            record(index, outcome(header(2)))
        assert index.counts()["instances"] == 1


def test_an_interrupted_batch_leaves_nothing(index, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sorter.index.index.record_sources", interrupt)
    with pytest.raises(KeyboardInterrupt):
        record(index, outcome(header()))
    monkeypatch.undo()
    assert index.counts()["instances"] == 0
    record(index, outcome(header()))
    assert index.counts()["instances"] == 1


def test_names_that_differ_only_in_case_do_not_stop_the_index(index):
    """Three files of one sender; with the third, neither daemon nor rescan would ever get further."""
    layout = Layout("descriptive")
    first = header(5, SeriesInstanceUID="1.9", SOPInstanceUID="1.1.1")
    crafted = header(8, SeriesInstanceUID="1.7", SOPInstanceUID="1.1.2", Modality="ct.1.9.5")
    third = header(5, SeriesInstanceUID="1.9", SOPInstanceUID="1.7.8")
    for head in (first, crafted, third):
        verdict = Verdict(Staged(candidate(head.text("SOPInstanceUID")), instance(head), "", ""), Kind.STORED)
        known = index.lookup([head])
        places = choose([verdict], known, layout, owners=index.folder_owners, taken=index.taken)
        (chosen,) = places.values()
        path = f"{chosen.folder}/{chosen.leaf}"
        one = outcome(head)._replace(path=path)
        index.record([one], places, {head.text("SOPInstanceUID"): layout_key(path)})
    assert index.counts()["instances"] == 3


# -- the ledger ----------------------------------------------------------------------------------------


def test_a_recorded_version_is_seen(index):
    one = outcome(header())
    record(index, one)
    row = index.seen([one.candidate])[one.candidate]
    assert (row.kind, row.reason, row.path, row.sha256) == (Kind.STORED, None, one.path, one.source_sha256)


def test_a_new_device_number_makes_no_new_version_since_remounting_changes_it(index):
    one = outcome(header())
    record(index, one)
    moved = one.candidate._replace(device=99)
    assert list(index.seen([moved])) == [moved]


@pytest.mark.parametrize("field", ["inode", "size", "mtime_ns", "ctime_ns"])
def test_any_other_version_is_not_seen(index, field):
    one = outcome(header())
    record(index, one)
    assert index.seen([one.candidate._replace(**{field: 99})]) == {}


def test_the_same_name_elsewhere_is_not_seen(index):
    one = outcome(header())
    record(index, one)
    assert index.seen([one.candidate._replace(folder="/drop/b"), one.candidate._replace(name="b")]) == {}


def test_refusals_keep_their_reason_and_deferred_ones_are_not_recorded(index):
    rejected = Outcome(candidate("r"), Kind.REJECTED, Reason.TRUNCATED, "cut", "q/r.dcm", digest("r"))
    deferred = Outcome(candidate("d"), Kind.DEFERRED, Reason.CHANGING)
    record(index, rejected, deferred)
    seen = index.seen([rejected.candidate, deferred.candidate])
    assert {one.name: (row.kind, row.reason) for one, row in seen.items()} == {
        "r": (Kind.REJECTED, Reason.TRUNCATED)
    }
    counts = index.counts()
    assert (counts["outcomes"], counts["reasons"]) == ({"rejected": 1}, {"rejected": {"truncated": 1}})


def test_an_unreadable_source_that_became_readable_gets_its_new_word(index):
    one = outcome(header())
    record(index, Outcome(one.candidate, Kind.REJECTED, Reason.UNREADABLE))
    record(index, one)
    assert index.counts()["outcomes"] == {"stored": 1}
    assert index.seen([one.candidate])[one.candidate].kind is Kind.STORED


def test_a_source_that_vanished_and_came_back_is_not_seen(index):
    gone = Outcome(candidate(), Kind.IGNORED, Reason.VANISHED)
    record(index, gone)
    assert index.seen([gone.candidate]) == {}


def test_one_source_twice_in_a_batch_is_one_line(index):
    one = outcome(header())
    record(index, one, one._replace(kind=Kind.DUPLICATE))
    assert sum(index.counts()["outcomes"].values()) == 1


def test_duplicates_name_the_instance_they_are_of(index, sql):
    one = outcome(header())
    record(index, one)
    record(index, outcome(header(), candidate("copy"), Kind.DUPLICATE))
    joined = "sources JOIN instances ON instances.id = instance_fk"
    rows = sql(f"SELECT name, sop_instance_uid FROM {joined}")
    assert sorted(rows) == [(one.candidate.name, f"{UID}.1.1.1"), ("copy", f"{UID}.1.1.1")]


def test_a_conflict_names_no_instance(index, sql):
    record(index, outcome(header()))
    record(index, outcome(header(), candidate("other"), Kind.CONFLICT, reason=Reason.CONFLICT))
    assert sql("SELECT instance_fk FROM sources WHERE name = 'other'") == [(None,)]


ODD = ["a\nb", "-rf", "\udcff\udc80.dcm", "\uf7ff\uf780.dcm", "山田.dcm", "x" * 255, "%", "a'b\"c", "💀"]


@pytest.mark.parametrize("name", ODD)
def test_any_name_of_the_file_system_is_seen_again(index, name):
    odd = candidate(name, f"/drop/{name}")
    record(index, Outcome(odd, Kind.REJECTED, Reason.NOT_DICOM))
    assert list(index.seen([odd, candidate("plain")])) == [odd]


def test_numbers_of_64_bits_and_times_far_ahead_are_seen_again(index):
    odd = candidate(device=2**64 - 1, inode=2**63, mtime_ns=2**63 + 5, ctime_ns=-1)
    record(index, Outcome(odd, Kind.REJECTED, Reason.NOT_DICOM))
    assert list(index.seen([odd, odd._replace(inode=2**63 - 1)])) == [odd]


def test_a_folder_of_thousands_is_seen_at_once(index):
    many = [candidate(f"{number}.dcm", inode=number) for number in range(3000)]
    record(index, *(Outcome(one, Kind.REJECTED, Reason.NOT_DICOM) for one in many[::2]))
    assert set(index.seen(many)) == set(many[::2])


def versions(*outcomes):
    return [(one.candidate.name, *one.candidate[3:7]) for one in outcomes]


def test_the_words_of_a_folder_are_the_final_outcomes_of_its_versions(index):
    stored = outcome(header(1), candidate("a"))
    elsewhere = outcome(header(2), candidate("b", "/drop/b"))
    rejected = Outcome(candidate("c"), Kind.REJECTED, Reason.NOT_DICOM)
    gone = Outcome(candidate("d"), Kind.IGNORED, Reason.VANISHED)
    record(index, stored, elsewhere, rejected, gone)
    expected = [("stored", None), ("rejected", "not_dicom")]
    folder = stored.candidate.folder
    assert index.words_in(folder) == dict(zip(versions(stored, rejected), expected, strict=True))


def test_a_later_word_replaces_the_earlier_one_in_the_words_of_a_folder(index):
    unreadable = Outcome(candidate("a"), Kind.REJECTED, Reason.UNREADABLE)
    record(index, unreadable)
    assert index.words_in(unreadable.candidate.folder) == {}
    record(index, unreadable._replace(kind=Kind.IGNORED, reason=Reason.DICOMDIR))
    assert list(index.words_in(unreadable.candidate.folder).values()) == [("ignored", "dicomdir")]


def test_members_are_those_below_just_this_path_however_the_database_sorts(index):
    folders = ("/drop/a.zip", "/drop/a.zip/deep", "/drop/a.zip+b", "/drop/A.zip/x", "/drop/a.zip0", "/drop")
    told = [
        outcome(header(number), candidate("m", folder=folder)) for number, folder in enumerate(folders, 1)
    ]
    record(index, *told)
    assert sorted(index.paths_within("/drop/a.zip")) == sorted(one.path for one in told[:2])


def test_of_a_folder_with_too_many_files_words_are_told_by_name_only(index, monkeypatch):
    many = [Outcome(candidate(f"{number:04}"), Kind.REJECTED, Reason.NOT_DICOM) for number in range(1200)]
    record(index, *many)
    monkeypatch.setattr("sorter.index.ledger.MOST_WORDS", 1000)
    assert index.words_in("/drop") is None
    names = [one.candidate.name for one in many[::2]]
    assert set(index.words_in("/drop", [*names, "other"])) == set(versions(*many[::2]))


# -- the views -----------------------------------------------------------------------------------------


def test_instance_view_joins_all_levels(index, sql):
    record(index, outcome(header()))
    rows = sql("SELECT patient_id, study_date, modality, instance_number, path FROM instance_view")
    assert rows == [("P1", "20240101", "CT", 1, outcome(header()).path)]


def test_source_view_shows_whole_paths(index, sql):
    record(index, Outcome(candidate("x"), Kind.REJECTED, Reason.TRUNCATED))
    assert sql("SELECT source, outcome, reason FROM source_view") == [("/drop/x", "rejected", "truncated")]


def test_the_views_have_every_indexed_keyword(index, url):
    engine = create_engine(url)
    names = {column["name"] for column in inspect(engine).get_columns("instance_view")}
    engine.dispose()
    assert {column_name(keyword) for keyword in INDEXED_KEYWORDS} - names == set()


# -- searching -----------------------------------------------------------------------------------------


@pytest.fixture
def filled(index):
    """P1: study 1, CT series 1 (3 instances) and MR series 2 (1); P_2: study 2, PT; P%3: study 3, no date."""
    record(
        index,
        *(outcome(header(number)) for number in (1, 2, 3)),
        outcome(header(1, series=2, Modality="MR")),
        outcome(header(1, study=2, patient="P_2", Modality="PT", StudyDate="20250615")),
        outcome(header(1, study=3, patient="P%3", StudyDate=None, StudyDescription="Thorax *?")),
    )
    return index


def studies(index, **criteria):
    return [row["patient_id"] for row in index.find(criteria, level="study")]


def test_studies_come_with_their_modalities_and_counts(filled):
    (row,) = filled.find({"PatientID": "P1"}, level="study")
    assert (sorted(row["modalities"].split(",")), row["series"], row["instances"]) == (["CT", "MR"], 2, 4)


@pytest.mark.parametrize(
    ("level", "counts"),
    [
        ("patient", {"studies": 1, "series": 2, "instances": 4}),
        ("series", {"instances": 3}),
        ("instance", {}),
    ],
)
def test_each_level_counts_what_is_below(filled, level, counts):
    row = next(filled.find({"PatientID": "P1"}, level=level))
    assert {name: row[name] for name in ("studies", "series", "instances") if name in row} == counts


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, ["P%3", "P1", "P_2"]),
        ({"PatientID": "P1"}, ["P1"]),
        ({"patient_id": "P1"}, ["P1"]),
        ({"PatientID": "P*"}, ["P%3", "P1", "P_2"]),
        ({"PatientID": "P_*"}, ["P_2"]),
        ({"PatientID": "P%*"}, ["P%3"]),
        ({"PatientID": "P?"}, ["P1"]),
        ({"StudyDate": "20240101-20241231"}, ["P1"]),
        ({"StudyDate": "2025-"}, ["P_2"]),
        ({"StudyDate": "-2024"}, ["P1"]),
        ({"StudyDate": "2024-2025"}, ["P1", "P_2"]),
        ({"StudyInstanceUID": f"{UID}.1,{UID}.2"}, ["P1", "P_2"]),
        ({"Modality": "MR"}, ["P1"]),
        ({"Modality": "MR,PT"}, ["P1", "P_2"]),
        ({"SeriesNumber": "2"}, ["P1"]),
        ({"InstanceNumber": "3", "Modality": "CT"}, ["P1"]),
        ({"InstanceNumber": "3", "Modality": "MR"}, []),
        ({"PatientID": "' OR 1=1 --"}, []),
    ],
)
def test_criteria_find_studies(filled, criteria, expected):
    assert sorted(studies(filled, **criteria)) == expected


def test_a_limit_bounds_the_rows(filled):
    assert len(list(filled.find({}, level="instance", limit=2))) == 2


def test_instances_come_in_the_order_of_their_numbers(filled):
    rows = filled.find({"PatientID": "P1", "Modality": "CT"}, level="instance")
    assert [row["instance_number"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("level", LEVELS)
def test_rows_show_no_keys_of_tables(filled, level):
    row = next(filled.find({}, level=level))
    assert [name for name in row if name == "id" or name.endswith(("_fk", "_key"))] == []


def test_an_unknown_keyword_names_the_nearest(index):
    with pytest.raises(ConfigError, match="study_instance_uid"):
        list(index.find({"StudyInstanceUIDs": "1"}, level="study"))


@pytest.mark.parametrize("value", ["x", "1.5"])
def test_a_number_must_be_one(index, value):
    with pytest.raises(ConfigError, match="series_number"):
        list(index.find({"SeriesNumber": value}, level="series"))


def test_a_number_of_thirty_digits_finds_nothing(index):
    record(index, outcome(header(InstanceNumber=7)))
    assert list(index.find({"InstanceNumber": "9" * 30}, level="instance")) == []


def test_a_year_alone_is_the_whole_year(filled):
    assert studies(filled, StudyDate="2024") == ["P1"]


def test_a_reader_pauses_while_another_writes(url, filled):
    reader = Index.open(url, read_only=True)
    rows = reader.find({}, level="instance")
    next(rows)
    record(filled, outcome(header(7, study=7, patient="P7")))
    assert len(list(rows)) == 5
    assert reader.counts()["instances"] == 7
    reader.close()
