"""The documentation names every option, command, exit status, reason and link target there is."""

import re
import tomllib

import click
import pytest
from support import ROOT

from sorter import errors
from sorter.cli import _HIDDEN, COMMANDS, group
from sorter.config import Config
from sorter.model import Kind, Pixels, Reason

COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def options():
    context = click.Context(group)
    for name in (*COMMANDS, *_HIDDEN):
        for parameter in group.get_command(context, name).params:
            if isinstance(parameter, click.Option):
                yield from parameter.opts


@pytest.mark.parametrize("option", sorted(set(options())))
def test_every_option_is_documented(option):
    assert f"`{option}" in COMMANDS_PAGE


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_section(command):
    assert f"## `sorter {command}" in COMMANDS_PAGE


def test_every_exit_status_is_documented():
    codes = {
        one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")
    }
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", COMMANDS_PAGE, re.MULTILINE)}
    assert codes <= documented


def commented_config():
    """The example configuration with every `# key = value` line taken as said."""
    text = (ROOT / "config/sorter.toml").read_text()
    return tomllib.loads("\n".join(re.findall(r"^# ([a-z_]+ = .*)$", text, re.MULTILINE)))


def test_the_example_configuration_has_every_key_and_no_other():
    assert set(commented_config()) == set(Config.model_fields)


def test_the_example_configuration_shows_the_defaults():
    without = {"retire_to", "receipts", "audit_log"}  # unset by default
    shown = {key: value for key, value in commented_config().items() if key not in without}
    assert Config.model_validate(shown) == Config()


@pytest.mark.parametrize("value", sorted({*Kind, *Reason, *Pixels}))
def test_every_outcome_reason_and_pixel_state_is_explained(value):
    assert f"`{value}` |" in (ROOT / "docs/outcomes.md").read_text()


@pytest.mark.parametrize("account", ["`seen` is the sum of the outcomes", "seen = `stored` + "])
def test_where_the_sum_of_the_outcomes_is_spelled_out_none_is_left_out(account):
    (line,) = [one for one in COMMANDS_PAGE.splitlines() if account in one]
    assert [kind for kind in Kind if f"`{kind}`" not in line and kind is not Kind.DEFERRED] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
