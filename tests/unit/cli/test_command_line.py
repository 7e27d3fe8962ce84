"""The command line: quick help, options on either side, plain messages, one exit status per error class."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.data import get_testdata_file

from sorter import cli, errors
from sorter.cli import _command_first, group, main

HEAVY = {"pydicom", "numpy", "sqlalchemy", "pydantic", "watchdog", "structlog", "rich", "alembic", "pebble"}


def python(code, *args):
    """Run code in a fresh interpreter; its output."""
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return done.stdout


HELP = """
import json, sys
from sorter.cli import group
sys.stdout, out = open("/dev/null", "w"), sys.stdout
try:
    group(sys.argv[1:], standalone_mode=False)
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=out)
"""


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--rescan", "--help"],
        ["--version"],
        *([name, "--help"] for name in ("run", *cli.COMMANDS)),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(args):
    assert HEAVY & set(json.loads(python(HELP, *args))) == set()


# -- which command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ["run"]),
        (["--archive", "a"], ["run", "--archive", "a"]),
        (["run", "-v"], ["run", "-v"]),
        (["--rescan"], ["rescan"]),
        (["--rescan", "x", "y"], ["rescan", "x", "y"]),
        (["--archive", "a", "--rescan", "x"], ["rescan", "--archive", "a", "x"]),
        (["--json", "--rescan"], ["rescan", "--json"]),
        (["-v", "--archive=a", "status", "--json"], ["status", "-v", "--archive=a", "--json"]),
        (["--archive", "a", "find", "PatientID=1"], ["find", "--archive", "a", "PatientID=1"]),
        (["--archive", "find", "status"], ["status", "--archive", "find"]),
        (["--archive", "status", "--rescan", "find"], ["rescan", "--archive", "status", "find"]),
        (["--dry-run", "--rescan", "--", "--odd"], ["rescan", "--dry-run", "--", "--odd"]),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["nonsense"], ["nonsense"]),
        (["--archive", "a", "nonsense"], ["nonsense"]),
        (["-q", "nonsense", "more"], ["nonsense"]),
    ],
)
def test_options_may_stand_on_either_side_of_the_command(args, expected):
    assert _command_first(args) == expected


def test_every_flag_without_a_value_is_known():
    """A flag that is missing from the list would swallow the command behind it."""
    context, flags = cli.click.Context(group), set()
    for name in (*cli.COMMANDS, *cli._HIDDEN):
        for option in group.get_command(context, name).params:
            if getattr(option, "is_flag", False):
                flags |= set(option.opts)
    assert flags <= set(cli._FLAGS)


def test_help_names_every_command_but_the_hidden_ones():
    text = CliRunner().invoke(group, ["--help"]).output
    named = {line.split()[0] for line in text.split("Commands:")[1].splitlines() if line.strip()}
    assert set(cli.COMMANDS) <= named
    assert set(cli._HIDDEN) & named == set()


# -- messages and exit status ---------------------------------------------------------------------------


def run(monkeypatch, capsys, *args):
    """Exit status, stdout and stderr of the entry point."""
    monkeypatch.setattr(sys, "argv", ["sorter", *args])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr()
    return caught.value.code, said.out, said.err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["nonsense"], ""),
        (["finde"], " Did you mean 'find'?"),
        (["--archive", "a", "verfy"], " Did you mean 'verify'?"),
    ],
)
def test_an_unknown_command_is_said_plainly_with_the_nearest(monkeypatch, capsys, args, hint):
    status, out, err = run(monkeypatch, capsys, *args)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == f"Error: No such command {args[-1]!r}.{hint}"


@pytest.mark.parametrize(
    "args", [["--archve", "a"], ["--rescan", "--archve", "a"], ["find", "--archve", "a"]]
)
def test_an_unknown_option_is_said_plainly_with_the_nearest(monkeypatch, capsys, args):
    status, out, err = run(monkeypatch, capsys, *args)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: No such option")
    assert "--archive" in err.splitlines()[-1]


def test_a_bad_value_of_a_choice_names_the_choices(monkeypatch, capsys):
    status, _, err = run(monkeypatch, capsys, "find", "--level", "film")
    assert (status, "patient" in err, "instance" in err) == (2, True, True)


@pytest.mark.parametrize(
    "error",
    sorted(
        {
            one
            for one in vars(errors).values()
            if isinstance(one, type) and issubclass(one, errors.SorterError)
        },
        key=lambda one: one.__name__,
    ),
)
def test_each_error_class_has_its_exit_status(monkeypatch, capsys, error):
    def fail(**_):
        raise error("what and where")

    monkeypatch.setattr(cli, "group", fail)
    assert run(monkeypatch, capsys) == (error.exit_code, "", "sorter: what and where\n")


def test_no_error_class_shares_its_exit_status_with_success_refusals_or_another():
    codes = {one.__name__: one.exit_code for one in errors.SorterError.__subclasses__()}
    assert len(set(codes.values())) == len(codes)
    assert {0, 1, 70, 130} & set(codes.values()) == set()


def test_a_bug_shows_where_and_never_its_text(monkeypatch, capsys):
    def fail(**_):
        raise ZeroDivisionError("Canary")

    monkeypatch.setattr(cli, "group", fail)
    status, out, err = run(monkeypatch, capsys)
    assert (status, out, "Canary" in err) == (70, "", False)
    assert err.startswith("sorter: internal error, please report: ZeroDivisionError at ")


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def fail(**_):
        raise cli.click.exceptions.Abort

    monkeypatch.setattr(cli, "group", fail)
    status, _, err = run(monkeypatch, capsys)
    assert (status, err) == (130, "interrupted; run the same command again to go on\n")


@pytest.mark.parametrize(("returned", "expected"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_what_a_command_returns_is_the_exit_status(monkeypatch, capsys, returned, expected):
    monkeypatch.setattr(cli, "group", lambda **_: returned)
    assert run(monkeypatch, capsys)[0] == expected


def test_a_configuration_that_cannot_be_used_names_key_and_origin(monkeypatch, capsys, tmp_path):
    file = tmp_path / "sorter.toml"
    file.write_text("workers = -1\n")
    status, out, err = run(monkeypatch, capsys, "status", "--config", str(file))
    assert (status, out, err.startswith(f"sorter: workers ({file}): ")) == (2, "", True)


@pytest.mark.parametrize(
    ("output", "expected"),
    [("/dev/full", "cannot write the output: "), ("/dev/null", "cannot read or write a file: ")],
)
def test_an_error_of_the_output_is_told_from_one_of_a_file(output, expected):
    code = """
import errno, sys
from sorter import cli
def fail(**_):
    cli.click.echo("text")
    raise OSError(errno.EIO, "Canary", "/Canary")
cli.group = fail
cli.main()
"""
    with Path(output).open("w") as out:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, check=False, stdout=out, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.startswith(f"sorter: {expected}")) == (4, True)
    assert ("Canary" in done.stderr, done.stderr.count("\n")) == (False, 1)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/a/.sorter/daemon.lock", "/srv/a/.sorter/daemon.lock"),
        (b"/srv/a/.sorter/lock", "/srv/a/.sorter/lock"),
        ("/srv/a/.sorter/withdrawn/now/Canary^John/1.dcm", "/srv/a/.sorter/withdrawn"),
        ("/srv/a/Canary^John/1.dcm", "a file"),
        (None, "a file"),
        (3, "a file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_where_it_is_no_patients(monkeypatch, capsys, path, expected):
    def fail(**_):
        raise OSError(errno.EACCES, "Canary", path)

    monkeypatch.setattr(cli, "group", fail)
    status, _, err = run(monkeypatch, capsys)
    assert (status, err) == (4, f"sorter: cannot read or write {expected}: Permission denied\n")


def test_a_worker_that_dies_as_it_is_started_is_told_and_not_taken_for_the_output(monkeypatch, capsys):
    """Its pipe breaks while the parent writes to it; click would exit with 1 and no word."""

    @cli.click.command()
    def command():
        raise BrokenPipeError(errno.EPIPE, "Canary")

    monkeypatch.setattr(cli.group, "get_command", lambda *_: command)
    status, out, err = run(monkeypatch, capsys, "find")
    assert (status, out, "Canary" in err) == (7, "", False)
    assert (err.startswith("sorter: a worker process ended "), sys.executable in err) == (True, True)


@pytest.mark.parametrize(
    "words", [("show", "--all", get_testdata_file("CT_small.dcm", download=False)), ("show", "--help")]
)
def test_a_reader_that_goes_away_ends_the_command_quietly_as_sigpipe_would(words):
    """As ``head`` does; 0 would say that all was written, 1 that something was refused."""
    command = [sys.executable, "-m", "sorter", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")
