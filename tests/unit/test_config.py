"""Configuration: flags over environment over file over defaults, and errors that say where to look."""

import os
from pathlib import Path

import pytest
from support import ROOT

from sorter import config as configuration
from sorter.config import FAMILIES, Config, load
from sorter.errors import ConfigError

NO_FILE = {"SORTER_CONFIG": ""}


def refused(**more):
    """The message of a configuration that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load(**{"environ": NO_FILE, **more})
    return str(caught.value)


def toml(tmp_path, text):
    path = tmp_path / "sorter.toml"
    path.write_text(text)
    return path


def test_without_anything_all_is_at_its_default():
    assert load(environ=NO_FILE) == Config()


def test_the_file_wins_over_the_default(tmp_path):
    assert load(file=toml(tmp_path, "settle_seconds = 3"), environ={}).settle_seconds == 3


def test_the_environment_wins_over_the_file(tmp_path):
    file = toml(tmp_path, "settle_seconds = 3")
    assert load(file=file, environ={"SORTER_SETTLE_SECONDS": "4"}).settle_seconds == 4


def test_a_flag_wins_over_the_environment(tmp_path):
    file = toml(tmp_path, "settle_seconds = 3")
    environ = {"SORTER_SETTLE_SECONDS": "4"}
    assert load(file=file, environ=environ, flags={"settle_seconds": 5}).settle_seconds == 5


def test_a_flag_that_was_not_given_changes_nothing():
    environ = NO_FILE | {"SORTER_WORKERS": "3"}
    assert load(environ=environ, flags={"workers": None}).workers == 3


def test_layers_are_joined_key_by_key(tmp_path):
    file = toml(tmp_path, "settle_seconds = 3\nworkers = 2\n")
    config = load(file=file, environ={"SORTER_WORKERS": "5"}, flags={"retire": "move"})
    assert (config.settle_seconds, config.workers, config.retire) == (3, 5, "move")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("INCOMING", f"/a{os.pathsep}/b c", (Path("/a"), Path("/b c"))),
        ("IGNORE", ".*, *.part", (".*", "*.part")),
        ("IGNORE", "", ()),
        ("DECOMPRESS", "rle,jpeg", ("rle", "jpeg")),
        ("DECOMPRESS", "", ()),
    ],
)
def test_a_variable_may_hold_a_list(name, text, expected):
    config = load(environ=NO_FILE | {f"SORTER_{name}": text})
    assert getattr(config, name.lower()) == expected


def test_variables_of_other_programs_are_left_alone():
    assert load(environ=NO_FILE | {"SORTERS": "1", "PATH": "/bin"}) == Config()


def test_the_config_variable_names_the_file(tmp_path):
    file = toml(tmp_path, "workers = 7")
    assert load(environ={"SORTER_CONFIG": str(file)}).workers == 7


def test_the_config_flag_wins_over_the_config_variable(tmp_path):
    file = toml(tmp_path, "workers = 7")
    assert load(file=file, environ={"SORTER_CONFIG": "/nowhere"}).workers == 7


def test_the_system_file_is_read_where_it_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "SYSTEM_CONFIG", toml(tmp_path, "workers = 9"))
    assert load(environ={}).workers == 9


def test_a_missing_system_file_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "SYSTEM_CONFIG", tmp_path / "absent.toml")
    assert load(environ={}) == Config()


def test_an_empty_config_variable_turns_the_system_file_off(tmp_path, monkeypatch):
    monkeypatch.setattr(configuration, "SYSTEM_CONFIG", toml(tmp_path, "workers = 9"))
    assert load(environ=NO_FILE).workers == 0


# -- what cannot be used --------------------------------------------------------------------------------


def test_an_unknown_key_in_the_file_is_named_with_the_file_and_the_nearest_key(tmp_path):
    file = toml(tmp_path, "settle_second = 3")
    assert refused(file=file) == f"unknown key 'settle_second' ({file}); did you mean 'settle_seconds'?"


def test_an_unknown_variable_is_named_with_the_nearest_key():
    message = refused(environ=NO_FILE | {"SORTER_ARCHIV": "/a"})
    assert message == "unknown key 'archiv' (variable SORTER_ARCHIV); did you mean 'archive'?"


def test_where_no_key_is_near_all_are_named():
    message = refused(environ=NO_FILE | {"SORTER_XYZZY": "1"})
    assert message.endswith(f"known keys: {', '.join(Config.model_fields)}")


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ({"flags": {"workers": -1}}, "workers (flag --workers)"),
        ({"flags": {"settle_seconds": "soon"}}, "settle_seconds (flag --settle-seconds)"),
        ({"environ": NO_FILE | {"SORTER_RETIRE": "burn"}}, "retire (variable SORTER_RETIRE)"),
        ({"environ": NO_FILE | {"SORTER_DECOMPRESS": "zip"}}, "decompress (variable SORTER_DECOMPRESS)"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_where_it_was_set(more, origin):
    assert refused(**more).startswith(f"{origin}: ")


def test_a_bad_value_in_the_file_is_named_with_the_file(tmp_path):
    file = toml(tmp_path, 'min_free_mb = "much"')
    assert refused(file=file).startswith(f"min_free_mb ({file}): ")


def test_every_bad_value_is_named_at_once():
    message = refused(flags={"workers": -1, "walk_seconds": 0})
    assert ("workers (flag" in message, "walk_seconds (flag" in message) == (True, True)


def test_a_config_file_that_is_not_there_is_an_error():
    assert refused(file=Path("/no/such.toml")) == (
        "cannot read the configuration /no/such.toml: No such file or directory"
    )


def test_a_config_variable_that_names_no_file_is_an_error():
    message = refused(environ={"SORTER_CONFIG": "/no/such.toml"})
    assert message.startswith("cannot read the configuration /no/such.toml")


@pytest.mark.parametrize("content", [b"workers = ", b"workers = 1\nworkers = 2\n", b"template = '\xff'\n"])
def test_what_is_no_toml_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "sorter.toml"
    path.write_bytes(content)
    assert refused(file=path).startswith(f"the configuration {path} is not valid TOML: ")


@pytest.mark.parametrize("incoming", ["/data", "/data/in", "/data/deep/in"])
def test_a_drop_folder_in_the_archive_is_refused(incoming):
    message = refused(flags={"archive": "/data", "incoming": ["/other", incoming]})
    assert message == f"incoming {incoming} lies inside the archive /data"


def test_an_archive_in_a_drop_folder_is_allowed():
    config = load(flags={"archive": "/data/archive", "incoming": ["/data"]}, environ=NO_FILE)
    assert (config.archive, config.incoming) == (Path("/data/archive"), (Path("/data"),))


def test_dots_do_not_hide_a_drop_folder_in_the_archive():
    message = refused(flags={"archive": "/data/x/..", "incoming": ["/other/../data/in"]})
    assert message == "incoming /data/in lies inside the archive /data"


def test_the_same_drop_folder_twice_is_refused():
    assert refused(flags={"incoming": ["/a", "/b/../a"]}) == "incoming names the same folder twice"


# -- the values -----------------------------------------------------------------------------------------


def test_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(flags={"incoming": ["in"], "archive": "a", "retire_to": "done"}, environ=NO_FILE)
    expected = ((tmp_path / "in",), tmp_path / "a", tmp_path / "done")
    assert (config.incoming, config.archive, config.retire_to) == expected


def test_the_default_folders_are_absolute_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (Config().incoming, Config().archive) == ((tmp_path / "incoming",), tmp_path / "archive")


def test_links_in_folders_are_kept(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert load(flags={"archive": tmp_path / "link"}, environ=NO_FILE).archive == tmp_path / "link"


def test_sources_are_not_retired_into_the_archive():
    with pytest.raises(ConfigError, match="retire_to /a/x lies inside the archive /a"):
        load(flags={"archive": "/a", "retire_to": "/a/x"}, environ=NO_FILE)


def test_there_is_at_least_one_drop_folder():
    with pytest.raises(ConfigError, match="incoming names no folder"):
        load(environ=NO_FILE | {"SORTER_INCOMING": ""})


def test_drop_folders_do_not_hold_each_other():
    with pytest.raises(ConfigError, match="incoming /in holds another drop folder"):
        load(flags={"incoming": ["/in", "/in/sub"]}, environ=NO_FILE)


def test_retired_sources_do_not_go_where_the_drop_folder_lies():
    with pytest.raises(ConfigError, match="retire_to /in is or holds the drop folder /in/sub"):
        load(flags={"incoming": ["/in/sub"], "retire_to": "/in"}, environ=NO_FILE)


def test_the_index_lies_in_the_archive_unless_a_url_is_given():
    default = load(flags={"archive": "/a"}, environ=NO_FILE)
    other = load(flags={"archive": "/a", "index": "postgresql://x/y"}, environ=NO_FILE)
    expected = (Path("/a/.sorter/index.sqlite"), "postgresql://x/y")
    assert (default.index_location, other.index_location) == expected


def test_zero_workers_means_one_for_each_core_that_may_be_used():
    cores = len(os.sched_getaffinity(0))
    assert [Config(workers=number).worker_count for number in (0, 5)] == [cores, 5]


def test_a_config_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().workers = 3


def test_every_family_is_decompressed_by_default():
    assert Config().decompress == FAMILIES


def test_the_example_file_can_be_used_as_it_is():
    assert load(file=ROOT / "config/sorter.toml", environ={}) == Config()


@pytest.mark.parametrize(
    "name",
    ["SORTER_PORT", "SORTER_SERVICE_HOST", "SORTER_SERVICE_PORT_HTTP", "SORTER_PORT_80_TCP_ADDR"],
)
def test_variables_that_kubernetes_sets_for_a_service_named_sorter_are_no_options(name):
    assert load(environ={"SORTER_CONFIG": "", name: "tcp://10.0.0.1:80"}) == Config()


@pytest.mark.parametrize(
    ("hook", "word"),
    [
        ({"events": ["refused"]}, "either a command or a url"),
        ({"events": ["refused"], "command": ["x"], "url": "https://a"}, "either a command or a url"),
        ({"events": ["refused"], "command": ["x"], "secret_file": "/s"}, "needs a url"),
        ({"events": ["nonsense"], "command": ["x"]}, "series_complete"),
        ({"events": ["refused"], "url": "ftp://a"}, "pattern"),
    ],
)
def test_a_hook_that_cannot_work_is_refused(hook, word):
    with pytest.raises(ConfigError, match=word):
        load(flags={"hooks": [hook]}, environ={"SORTER_CONFIG": ""})


def test_receipts_may_not_lie_in_a_drop_folder(tmp_path):
    with pytest.raises(ConfigError, match="lies inside a drop folder"):
        load(flags={"incoming": [tmp_path], "receipts": tmp_path / "r"}, environ={"SORTER_CONFIG": ""})
