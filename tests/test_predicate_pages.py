"""The pages about what is signed: their examples are read by the code that reads the real ones."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from attestations.domain.policy_statement import parse_policy
from attestations.domain.summary import parse_summary
from builds.domain.provenance import parse_rebuild_statement
from builds.domain.strict_json import compact_json
from tee_portal.env import BASE_DIR

PAGES = BASE_DIR / "docs" / "predicates"


def examples(page: str) -> list[Any]:
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)]


def test_the_example_verdict_names_the_example_policy() -> None:
    stated, policy = examples("verification-summary.md")
    summary = parse_summary(compact_json(stated))
    assert json.loads(summary.encode()) == stated
    assert summary.policy.sha256 == parse_policy(compact_json(policy)).sha256
    assert summary.tally.needed == parse_policy(compact_json(policy)).needed_operators


def test_the_example_rebuild_is_one() -> None:
    (stated,) = examples("rebuild-v1.md")
    statement = parse_rebuild_statement(compact_json(stated))
    assert json.loads(statement.encode()) == stated


def names(value: Any) -> set[str]:
    """The names of all members, but those that are data."""
    if isinstance(value, list):
        return {name for entry in value for name in names(entry)}
    if not isinstance(value, dict):
        return set()
    inner = {name for key, entry in value.items() if key != "version" for name in names(entry)}
    return {*value, *inner}


@pytest.mark.parametrize("file_name", ["verification-summary.md", "rebuild-v1.md"])
def test_every_member_of_an_example_is_described_on_its_page(file_name: str) -> None:
    text = re.sub(r"```.*?```", "", (PAGES / file_name).read_text(), flags=re.DOTALL)
    known_elsewhere = {
        "_type",
        "predicate",
        "digest",
        "name",
        "annotations",
        "entries",
        "id",
        "version",
        "engine_version",
    }
    described = {part for quoted in re.findall(r"`([^`]+)`", text) for part in re.split(r"[.\s\[\]]", quoted)}
    for example in examples(file_name):
        missing = names(example) - known_elsewhere - described - {"https://tee-portal.org/verdict/v1"}
        assert not missing


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name}: {target}"
