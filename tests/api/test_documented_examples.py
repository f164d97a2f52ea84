"""Every example of the documentation is run against a served portal, and the answer is the one that the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tee_portal.env import BASE_DIR
from tests.api.conftest import Served
from tests.api.newcomer import Newcomer
from tests.support.api_data import COMMIT
from tests.support.documented import Block, Example, blocks_of, differences, examples_of

pytestmark = pytest.mark.slow

DESCRIPTION = BASE_DIR / "docs" / "openapi.json"
PAGE = BASE_DIR / "docs" / "api.md"
PAGES = [PAGE, BASE_DIR / "docs" / "accounts.md", BASE_DIR / "docs" / "verify.md"]
EXAMPLES = [example for page in PAGES for example in examples_of(page) if example.block.language == "sh"]
NOT_RUN = {
    "python3.13 -m venv ~/verify": "it fetches packages from an index",
    "tee-portal-verify release enclave/v1.0.0 --files release --evidence evidence.json --portal-key portal.pub"
    " --max-age 7d": "tests/verify/test_documentation.py runs it beside a release's files",
}
"""Blocks that a page itself marks as not run, by their first line, and why."""
ELSEWHERE = {
    ("api.md", "yaml"): "tests/end_to_end/test_publishing.py runs the step",
    ("verify.md", "text"): "tests/verify/test_documentation.py holds it against what the program prints",
    ("verify.md", "yaml"): "tests/verify/test_documentation.py runs the step",
    ("verify.md", "ini"): "tests/verify/test_documentation.py runs the unit's command",
}
"""Blocks that are no commands, by page and language, and where they are run."""
_SHELL = """\
set -a
set -euo pipefail
[ ! -e state ] || . ./state
trap 'export -p > state' EXIT
"""
_ASKED = re.compile(r'curl\b[^|]*?"\$PORTAL(?P<path>/api/v1/[^"]*)"(?P<rest>[^|)]*)')


@dataclass(frozen=True)
class Ran:
    """What a block's shell left."""

    code: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def ran(served: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Every block in the order of the page, each in a shell that knows what earlier ones assigned."""
    folder, newcomer = tmp_path_factory.mktemp("examples"), Newcomer(served)
    environment = {**os.environ, **_values(served)}
    # What is installed with the environment of the suite is on a reader's path.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    made: dict[str, Ran] = {}
    for example in EXAMPLES:
        if _is_run(example):
            _prepare(folder, newcomer, example.block)
            made[example.block.name] = _run(example.block, folder, environment)
    return made


def _values(served: Served) -> dict[str, str]:
    """What the page says that its variables hold."""
    facts = served.facts
    return {
        "PORTAL": served.portal.address,
        "TOKEN": facts["everything"],
        "MEASUREMENT": facts["measurement"],
        "COMMIT": COMMIT,
        "KERNEL": facts["kernel"],
        "BUNDLE": facts["bundle"],
        "STATEMENT": facts["statement"],
        "REBUILD": facts["succeeded"],
    }


def _prepare(folder: Path, newcomer: Newcomer, block: Block) -> None:
    """The files that a block sends: signed just now, since a request holds for a minute."""
    files = {"enrolment.json": newcomer.enrolment, "claim.json": newcomer.claim, "statement.json": newcomer.statement}
    for name, signed in files.items():
        if f"@{name}" in block.text:
            (folder / name).write_bytes(signed())
    (folder / "claim.token").write_text(newcomer.token)
    for name in ("manifest.json", "vmlinuz", "initrd.img", "ovmf.fd"):
        (folder / name).write_bytes(name.encode())


def _run(block: Block, folder: Path, environment: dict[str, str]) -> Ran:
    finished = subprocess.run(
        ["bash", "-c", _SHELL + block.text], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    return Ran(finished.returncode, finished.stdout, finished.stderr)


def _is_run(example: Example) -> bool:
    return example.block.why_not is None


@pytest.mark.parametrize("example", [pytest.param(entry, id=entry.block.name) for entry in EXAMPLES if _is_run(entry)])
def test_an_example_does_what_the_page_shows(example: Example, ran: dict[str, Ran]) -> None:
    result = ran[example.block.name]
    assert result.code == 0, result.output + result.errors
    if example.answer is not None:
        assert differences(example.answer, result.output) == [], result.output[:4000]
    else:
        # Commands whose answer the page leaves out say at least that nothing was refused.
        assert '"todo"' not in result.output


def test_no_answer_has_a_digest_without_its_algorithm(ran: dict[str, Ran]) -> None:
    """A log's id is no digest to compare, but the name that Rekor gives it."""
    outputs = [result.output for result in ran.values()]
    assert any('"sha256:' in output for output in outputs)
    plain = [found for output in outputs for found in re.findall(r'"(\w+)": ?"[0-9a-f]{64}"', output)]
    assert [name for name in plain if name != "log_id"] == []


def test_everything_that_is_not_run_is_listed_here_with_its_reason() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    assert {block.text.splitlines()[0]: block.why_not for block in blocks if block.why_not is not None} == NOT_RUN


def test_each_block_is_a_command_or_the_answer_to_one_or_run_elsewhere() -> None:
    shown = [example.answer for example in EXAMPLES]
    for page in PAGES:
        blocks = blocks_of(page)
        assert page.read_text().count("```") == 2 * len(blocks)
        for block in blocks:
            is_seen = block.language == "sh" or block in shown or (page.name, block.language) in ELSEWHERE
            assert is_seen, block.name


def test_examples_stand_between_fences_where_they_are_seen() -> None:
    for page in PAGES:
        outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"^ {4}\S.*$", outside, re.MULTILINE) == [], page.name


def test_every_operation_has_an_example() -> None:
    own = [example.block for example in EXAMPLES if example.block.page == PAGE.name]
    asked = {operation for block in own for operation in _operations_in(block.text)}
    assert [name for name in _operations() if name not in asked] == []


def _operations() -> dict[str, re.Pattern[str]]:
    """Every operation of the description with what matches its address, the more special ones first."""
    paths = json.loads(DESCRIPTION.read_bytes())["paths"]
    names = [f"{method.upper()} {path}" for path, item in paths.items() for method in item]
    names.sort(key=lambda name: -len(re.sub(r"\{\w+\}", "", name)))
    return {name: _matching(name.partition(" ")[2]) for name in names}


def _matching(path: str) -> re.Pattern[str]:
    """A tag may hold slashes, every other place is one segment."""
    parts = re.split(r"(\{\w+\})", path)
    return re.compile(
        "".join(".+" if part == "{tag}" else "[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
    )


def _operations_in(commands: str) -> list[str]:
    found = []
    lines = commands.replace("\\\n", " ").splitlines()
    for asked in (found for line in lines for found in _ASKED.finditer(line)):
        whole = asked[0]
        stated = re.search(r"(?:-X|--request) (\w+)", whole)
        sends = re.search(r"(?:--json|--data\S*|-d|-F|--form) ", whole) is not None
        method = stated[1] if stated else "POST" if sends else "GET"
        path = asked["path"].partition("?")[0]
        fitting = (
            name for name, pattern in _operations().items() if name.startswith(f"{method} ") and pattern.fullmatch(path)
        )
        found.append(next(fitting, f"{method} {path}: no operation"))
    return found


def test_every_address_in_an_example_is_an_operation() -> None:
    asked = [operation for example in EXAMPLES for operation in _operations_in(example.block.text)]
    assert [operation for operation in asked if operation.endswith("no operation")] == []


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize(
    ("answer", "code"), [('{"decision": "deny"}', 1), ("{}", 1), ("", 1), ('{"decision": "allow"}', 0)]
)
def test_the_shortest_gate_of_the_page_opens_for_nothing_but_allow(answer: str, code: int, tmp_path: Path) -> None:
    """With a curl that gives this answer, or none."""
    (gate,) = [example.block.text for example in EXAMPLES if example.block.text.startswith('test "$(curl')]
    fake = tmp_path / "curl"
    fake.write_text("#!/bin/sh\ncat answer\n")
    fake.chmod(0o755)
    (tmp_path / "answer").write_text(answer)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PORTAL": "http://127.0.0.1:1"}
    ran = subprocess.run(["bash", "-c", gate], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ran.returncode == code
