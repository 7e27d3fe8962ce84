"""The deployment files keep what docs/deploy.md promises."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
UNIT = (DEPLOY / "sorter.service").read_text()
DOCKERFILE = (PROJECT / "Dockerfile").read_text()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(text: str) -> dict[str, list[str]]:
    """The assignments of a unit file, in order, by key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def tuned(folder: Path, drop_in: str = "") -> Path:
    """The unit as a file whose program exists on any machine; nothing else of it is changed."""
    unit = folder / "sorter.service"
    unit.write_text(UNIT.replace("/opt/sorter/bin/sorter", sys.executable))
    if drop_in:
        (folder / "sorter.service.d").mkdir()
        shutil.copy(DEPLOY / "examples" / drop_in, folder / "sorter.service.d")
    return unit


@needs_systemd
@pytest.mark.parametrize("drop_in", ["", "other-folders.conf", "postgresql.conf"])
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path, drop_in: str):
    command = ["systemd-analyze", "verify", "--man=no", str(tuned(tmp_path, drop_in))]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    own = [line for line in ran.stderr.splitlines() if "sorter" in line]
    assert (own, ran.returncode) == ([], 0)


@needs_systemd
def test_systemd_rates_the_exposure_of_the_unit_at_most_one(tmp_path: Path):
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=10",
        str(tuned(tmp_path)),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr + ran.stdout


def test_the_unit_restarts_on_failure_but_not_on_a_wrong_configuration():
    unit = settings(UNIT)
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["StartLimitIntervalSec"] == ["0"]


def test_drop_folder_and_archive_are_one_writable_path():
    """Trap 13: a link or rename between two of them fails with EXDEV."""
    assert settings(UNIT)["ReadWritePaths"] == ["/srv/sorter"]


def test_workers_may_change_their_priority_and_see_the_inotify_limits():
    """Trap 32."""
    unit = settings(UNIT)
    assert not any("@resources" in value for value in unit["SystemCallFilter"])
    assert unit["ProcSubset"] == ["all"]


def test_no_core_file_can_hold_patient_data():
    assert settings(UNIT)["LimitCORE"] == ["0"]
    assert re.search(r"^ +core: 0$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)


def test_the_unit_names_the_account_and_folders_that_are_made_for_it():
    accounts = (DEPLOY / "sorter.sysusers").read_text()
    folders = (DEPLOY / "sorter.tmpfiles").read_text()
    unit = settings(UNIT)
    assert re.search(rf"^u {unit['User'][0]} ", accounts, re.MULTILINE)
    for folder in (*unit["ReadWritePaths"], "/srv/sorter/archive", "/srv/sorter/incoming", "/etc/sorter"):
        assert re.search(rf"^d {folder} ", folders, re.MULTILINE), folder


@pytest.mark.parametrize("line", [line for line in UNIT.splitlines() if line.startswith("#   ")])
def test_each_installation_step_is_also_in_the_documentation(line: str):
    assert line.removeprefix("#   ") in (PROJECT / "docs/deploy.md").read_text()


def test_the_installed_configuration_names_the_folders_that_are_made():
    configuration = tomllib.loads((DEPLOY / "sorter.toml").read_text())
    assert configuration == {"incoming": ["/srv/sorter/incoming"], "archive": "/srv/sorter/archive"}


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (name, arguments), continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(name, arguments) for name, _, arguments in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    """The arguments of the last such instruction of the Dockerfile."""
    return [arguments for found, arguments in instructions(DOCKERFILE) if found == name][-1]


def test_the_container_runs_as_the_numbered_user_that_it_makes():
    uid, _, gid = last("USER").partition(":")
    assert f"--uid {uid} " in last("RUN")
    assert f"--gid {gid} " in last("RUN")
    assert f'user: "{uid}:{gid}"' in (DEPLOY / "compose.yaml").read_text()


def test_the_container_asks_sorter_itself_for_its_health():
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["sorter", "status", "--quiet"]


def test_the_container_starts_sorter_without_a_shell_so_that_signals_reach_it():
    assert json.loads(last("ENTRYPOINT")) == ["sorter"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_both_volumes_are_folders_that_sorter_is_told_of_and_compose_mounts():
    volumes = json.loads(last("VOLUME"))
    told = re.findall(r"SORTER_\w+=(\S+)", last("ENV"))
    assert sorted(volumes) == sorted(told)
    for volume in volumes:
        assert f":{volume}\n" in (DEPLOY / "compose.yaml").read_text()


def test_the_container_has_no_download_cache_and_compiles_nothing():
    (install,) = [a for name, a in instructions(DOCKERFILE) if name == "RUN" and "pip install" in a]
    assert "--no-cache-dir" in install
    assert "--only-binary=:all:" in install


def test_the_container_is_built_from_no_more_than_it_copies():
    ignore = (PROJECT / ".dockerignore").read_text().splitlines()
    copied = " ".join(a for name, a in instructions(DOCKERFILE) if name == "COPY" and "--from" not in a)
    admitted = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert "*" in ignore
    assert sorted(admitted) == sorted(word for word in copied.split() if not word.startswith("./"))


@pytest.mark.parametrize(
    "setting", ["read_only: true", "cap_drop: [ALL]", "network_mode: none", "init: true"]
)
def test_compose_takes_away_what_sorter_does_not_need(setting: str):
    assert f"    {setting}\n" in (DEPLOY / "compose.yaml").read_text()


def test_every_dependency_is_documented_with_its_licence():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    names = {re.split(r"[<>=!~\[; ]", dependency)[0] for dependency in wanted} - {project["name"]}
    table = (PROJECT / "docs/dependencies.md").read_text()
    documented = set(re.findall(r"^\| ([\w.-]+) +\|", table, re.MULTILINE))
    assert set() == names - documented


def test_ci_and_hooks_name_no_tool_that_the_project_does_not_install():
    hooks = (PROJECT / ".pre-commit-config.yaml").read_text()
    assert {"local"} == set(re.findall(r"^ *- repo: (\S+)", hooks, re.MULTILINE))
    assert {"system"} == set(re.findall(r"language: (\S+)", hooks))


def test_ci_runs_the_first_sh_block_of_the_test_section():
    """The program that finds it in README.md, on a README of its own."""
    script = re.search(
        r"test_command=\$\(awk '(.*?)' README.md\)", (PROJECT / ".ci/run").read_text(), re.DOTALL
    )
    assert script
    readme = (
        "# sorter\n```sh\nnot this\n```\n## Test\nWords.\n```text\nnor this\n```\n"
        "```sh\nsh tests/run\n```\n```sh\nnor this\n```\n"
    )
    ran = subprocess.run(["awk", script[1]], input=readme, check=True, capture_output=True, text=True)
    assert ran.stdout == "sh tests/run\n"
