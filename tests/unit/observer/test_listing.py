"""Facts about listings: each entry of a folder is in one of them once, and in its right place there."""

import os
import socket
from collections import Counter

import pytest
from walked import known_to_the_ledger, paths, refusals, write

from sorter.model import Candidate, Kind, Reason
from sorter.observer import listing as listing_module
from sorter.observer.listing import Listing, look
from sorter.observer.walk import Walker


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def test_a_candidate_is_what_lstat_says(root):
    file = write(root / "b" / "a", b"12345")
    seen = os.lstat(file)
    [listing] = Walker(f"{root}/").walk(deep=True)
    assert listing.candidates == [
        Candidate(
            str(root / "b"), "a", seen.st_dev, seen.st_ino, 5, seen.st_mtime_ns, seen.st_ctime_ns, str(root)
        )
    ]


def test_large_folders_come_in_parts_and_only_the_final_one_is_last(root, monkeypatch):
    monkeypatch.setattr(listing_module, "CHUNK", 3)
    expected = sorted(str(write(root / str(n))) for n in range(6))
    listings = list(Walker(str(root)).walk(deep=True))
    assert [(len(part.candidates), part.last) for part in listings] == [(3, False), (3, True)]
    assert paths(listings) == expected


def test_what_is_not_a_regular_file_is_ignored_and_links_are_not_followed(root, tmp_path):
    write(tmp_path / "outside" / "secret")
    (root / "link").symlink_to(tmp_path / "outside" / "secret")
    (root / "linked folder").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "socket"))
        listings = list(Walker(str(root)).walk(deep=True))
    assert paths(listings) == []
    assert refusals(listings) == [
        ("fifo", Kind.IGNORED, Reason.NOT_REGULAR),
        ("link", Kind.IGNORED, Reason.SYMLINK),
        ("linked folder", Kind.IGNORED, Reason.SYMLINK),
        ("socket", Kind.IGNORED, Reason.NOT_REGULAR),
    ]


def test_ignored_names_are_reported_and_ignored_folders_not_entered(root):
    names = [".git/config", ".a.dcm.Xy12", "x.part", "x.partial", "x.tmp", "x~", "x.crdownload"]
    for name in [*names, "x.dcm"]:
        write(root / name)
    listings = list(Walker(str(root)).walk(deep=True))
    assert paths(listings) == [str(root / "x.dcm")]
    expected = sorted((name.split("/")[0], Kind.IGNORED, Reason.PATTERN) for name in names)
    assert refusals(listings) == expected


def test_patterns_are_the_callers(root):
    write(root / ".hidden")
    write(root / "a.bak")
    assert paths(Walker(str(root), ignore=["*.bak"]).walk(deep=True)) == [str(root / ".hidden")]
    assert len(paths(Walker(str(root), ignore=[]).walk(deep=True))) == 2


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.dcm", b"new\nline", b"n" * 255, b"-rf", "ü\u202e".encode(), b"a b\t", b"\\x", b"*"]
)
def test_odd_names_are_seen_and_open_again(root, name):
    write(root / os.fsdecode(name))
    [listing] = Walker(str(root)).walk(deep=True)
    [candidate] = listing.candidates
    assert os.fsencode(candidate.name) == name
    assert look(candidate.path, str(root)) == candidate


def test_a_listing_says_what_it_holds(root):
    file = write(root / "1")
    [listing] = Walker(str(root)).walk(deep=True)
    assert listing == Listing(str(root), [look(str(file), str(root))], [], last=True, serial=listing.serial)


def test_files_that_the_ledger_knows_are_counted_and_no_candidates(root, monkeypatch):
    monkeypatch.setattr(listing_module, "CHUNK", 2)
    files = [write(root / name, b"four") for name in ("a", "b", "c", "deep/d")]
    fresh = write(root / "deep/e")
    listings = list(Walker(str(root), words=known_to_the_ledger(*files)).walk(deep=True))
    counts = sum((one.known for one in listings), Counter())
    assert counts == {("stored", None): 4}
    assert sum(one.known_bytes for one in listings) == 16
    assert paths(listings) == [str(fresh)]


def test_of_a_folder_with_too_many_words_each_part_is_asked_about(root, monkeypatch):
    monkeypatch.setattr(listing_module, "CHUNK", 2)
    files = [write(root / name) for name in ("a", "b", "c")]
    words, asked = known_to_the_ledger(*files), []

    def by_name(folder, names):
        if names is None:
            return None
        asked.append(len(names))
        return {version: word for version, word in words(folder, None).items() if version[0] in names}

    listings = list(Walker(str(root), words=by_name).walk(deep=True))
    assert (sum(one.known.total() for one in listings), paths(listings), asked) == (3, [], [2, 1])


def test_a_known_name_with_another_version_is_a_candidate(root):
    file = write(root / "a", b"four")
    words = known_to_the_ledger(file)
    file.write_bytes(b"other")
    assert paths(Walker(str(root), words=words).walk(deep=True)) == [str(file)]


def test_a_known_name_that_is_ignored_now_is_ignored(root):
    words = known_to_the_ledger(write(root / "a.tmp"))
    (listing,) = Walker(str(root), words=words).walk(deep=True)
    assert (refusals([listing]), listing.known) == ([("a.tmp", Kind.IGNORED, Reason.PATTERN)], {})


def test_look_tells_files_from_the_rest(root):
    file = write(root / "a")
    (root / "link").symlink_to(file)
    assert look(str(file)).root == ""
    assert look(str(file), str(root)).root == str(root)
    assert look(str(root / "link")).reason is Reason.SYMLINK
    assert look(str(root)).reason is Reason.NOT_REGULAR
    assert look(str(root / "none")) is None
    assert look(str(file / "below a file")) is None
    assert look(f"{root}/{'n' * 256}").reason is Reason.UNREADABLE
