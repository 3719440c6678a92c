"""Docs that can fail: what they name exists, and what exists they name."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import click
import pytest

from infra.cli import COMMANDS, penstock
from ingest.settings import Settings
from tests.harness.pages import DECISIONS, decision_rows

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS = "ingest|devices|consumers|lake|simulator|dashboard|infra|tests|benchmarks"


def commands() -> dict[str, click.Command]:
    """Every command by its full name."""
    found: dict[str, click.Command] = {}
    context = click.Context(penstock)

    def add(name: str, command: click.Command | None) -> None:
        assert command is not None, name
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                found[name] = command
            for sub in command.list_commands(context):
                add(f"{name} {sub}", command.get_command(context, sub))
        else:
            found[name] = command

    for name in COMMANDS:
        add(name, penstock.get_command(context, name))
    return found


def test_every_command_is_in_the_table_of_commands() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for name in commands():
        assert f"`penstock {name}" in page, name


def test_every_command_explains_itself_and_its_options() -> None:
    for name, command in commands().items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_the_docs_is_one_that_exists(page: Path) -> None:
    known = commands()
    for line in re.findall(r"penstock ((?:[a-z]+)(?: [^`\n|]*)?)", _code(page.read_text())):
        words = shlex.split(line.split("  #")[0].strip(), comments=True)
        names = (" ".join(words[:count]) for count in (3, 2))
        name = next((one for one in names if one in known), words[0])
        assert name in known, f"{page.name}: penstock {line}"
        options = {o for p in known[name].params for o in (*p.opts, *p.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in {*options, "--help"}, f"{page.name}: {line}"


def _code(text: str) -> str:
    """The code of a page: fenced blocks and inline spans, without captured output."""
    text = re.sub(r"<!-- demo output -->\n```.*?```", "", text, flags=re.DOTALL)
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join(line.split(" | ")[-1] for line in "\n".join([*fenced, *inline]).splitlines())


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert documented == set(Settings.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_in_the_docs_is_a_setting_or_read_by_a_command(page: Path) -> None:
    known = {f"PENSTOCK_{name.upper()}" for name in Settings.model_fields}
    known |= {o.envvar for c in commands().values() for o in c.params if isinstance(o.envvar, str)}
    for file in (ROOT / "infra" / "commands").glob("*.py"):  # those that a command reads or prints
        known |= set(re.findall(r"PENSTOCK_[A-Z][A-Z_]+", file.read_text()))
    for name in re.findall(r"\bPENSTOCK_[A-Z][A-Z_]+", page.read_text()):
        assert name in known, f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_in_the_docs_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for name in re.findall(r"(?:^|`)make ([a-z]+)", _code(page.read_text()), flags=re.MULTILINE):
        assert name in targets, f"{page.name}: make {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https://)([^)#]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
    for path in re.findall(rf"`((?:{FOLDERS}|docs|requirements)/[\w./-]*[\w/])`", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_name_in_the_docs_is_one_that_exists(page: Path) -> None:
    for name in re.findall(rf"[`\s](?:python -m )?((?:{FOLDERS})(?:\.\w+)+)", page.read_text()):
        assert _exists(name), f"{page.name}: {name}"


def _exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:end])
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if file.exists():
            rest = parts[end:]
            return not rest or re.search(rf"\b{rest[0]}\b", file.read_text()) is not None
    return False


def test_every_decision_is_in_the_list_of_decisions() -> None:
    index = (DECISIONS / "index.md").read_text()
    assert index.endswith(f"|---|---|\n{decision_rows()}"), "run `make pages`"


def test_the_readme_shows_the_lines_that_a_demo_prints() -> None:
    from infra.simulation.report import verdict_line
    from simulator.verification.verifier import Report

    shown = (ROOT / "README.md").read_text()
    report = Report(sent={})
    report.archive = dict.fromkeys(("missing", "duplicated", "wrong", "extra"), 0)
    assert verdict_line(report) in shown


def test_nothing_names_a_host_of_a_registry_in_the_locked_requirements() -> None:
    for name in ("development", "production", "uv", "build"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
        assert "--index-url" not in text


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    from consumers.shard.report import ShardReport
    from consumers.worker.prometheus import exposition
    from consumers.worker.status import WorkerStatus

    status = WorkerStatus()
    status.daemon_pid = os.getpid()
    status.report(ShardReport("s-0", 1, behind_ms=0, uncommitted_since=1))
    page = exposition(status.snapshot(), status.latency()).decode()
    exposed = set(re.findall(r"^# TYPE (\w+)", page, flags=re.MULTILINE))
    text = (ROOT / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"^\| `(penstock_\w+)` \|", text, flags=re.MULTILINE)) == exposed
