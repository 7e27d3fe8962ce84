"""The names that members of archives have."""

import pytest

from sorter.unpack.names import MOST_COMPONENT, MOST_PATH, Names, safe


class Counted(str):
    """A text that counts how often a name was made of it."""

    made = 0

    def __format__(self, _spec):
        type(self).made += 1
        return str(self)


def size(text):
    """In bytes, as the index keeps it."""
    return len(text.encode(errors="surrogatepass"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../x", "x"),
        ("/a/b", "a/b"),
        ("a\\b", "a/b"),
        ("..", "unnamed"),
        ("a/./b", "a/b"),
        ("", "unnamed"),
    ],
)
def test_names_of_members_lead_nowhere(name, expected):
    """They only say where a member lay."""
    assert safe(name) == expected


@pytest.mark.parametrize("name", ["x" * MOST_COMPONENT, "/".join(["x" * 204] * 5), "é" * 127])
def test_a_name_within_the_limits_stays(name):
    assert safe(name) == name


@pytest.mark.parametrize("letter", ["x", "é", "語", "😀", "\udcff"])
@pytest.mark.parametrize("ending", ["", ".dcm", ".nii.gz", "." + "y" * 300])
def test_a_long_name_is_cut_between_characters_and_keeps_its_beginning_and_its_ending(letter, ending):
    short = safe("scan " + letter * 60_000 + ending)
    assert MOST_COMPONENT - 4 < size(short) <= MOST_COMPONENT
    assert short.startswith(f"scan {letter * 40}")
    assert short.endswith(f".{ending.rpartition('.')[2]}") == (0 < len(ending) < 16)


def test_what_is_cut_stays_different_and_always_becomes_the_same():
    """The hash is that of the whole name."""
    long = "x" * 300
    assert safe(f"{long}a") != safe(f"{long}b")
    assert safe("x" * 256) == f"{'x' * 242}~85e62acd750c"


@pytest.mark.parametrize("most", [MOST_PATH, MOST_PATH // 3])
@pytest.mark.parametrize("letters", ["x", "xy" * 50, "語" * 85, "z" * 4000])
def test_of_a_long_path_the_first_folders_and_the_last_name_stay(letters, most):
    names = [f"{letters}/" * 15_000 + leaf for leaf in ("a.dcm", "b.dcm", f"{letters}.dcm")]
    short = [safe(name, most) for name in names]
    assert [size(one) <= most for one in short] == [True] * 3
    assert [one.rpartition("/")[2] for one in short] == ["a.dcm", "b.dcm", safe(f"{letters}.dcm")]
    assert short[0].startswith(safe(letters)) or size(safe(letters)) > most // 2
    assert safe(f"{letters}/" * 15_001 + "a.dcm", most) != short[0]
    assert all(size(part) <= MOST_COMPONENT for one in short for part in one.split("/"))


def test_members_of_one_name_are_numbered():
    """Whatever other members are called."""
    names = Names()
    given = [names.unique(path) for path in ("a", "a", "a#2", "a#4", "a", "a", "b")]
    assert given == ["a", "a#2", "a#2#2", "a#4", "a#3", "a#5", "b"]


@pytest.mark.parametrize("others", [[], [f"a#{number}" for number in range(1, 3000)]])
def test_many_members_of_one_name_are_no_more_work_than_as_many_of_different_names(others):
    """Each number is tried once."""
    names, name, before = Names(), Counted("a"), Counted.made
    given = {names.unique(path) for path in (*others, *[name] * 3000)}
    assert len(given) == len(others) + 3000
    assert Counted.made - before < 2 * 3000
