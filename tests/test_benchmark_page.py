"""The page of benchmarks: a part that is not measured again stays as it is."""

from __future__ import annotations

from builds.management.commands.bench import HEADINGS, parts_of
from tee_portal.env import BASE_DIR


def test_every_part_of_the_page_is_found_and_names_its_machine() -> None:
    page = (BASE_DIR / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    found = parts_of(page)
    assert list(found) == list(reversed(HEADINGS))
    together = "\n\n".join(f"{HEADINGS[part]}\n{found[part].strip()}".strip() for part in HEADINGS)
    assert f"{together}\n" == page
    assert [part for part in HEADINGS if "\n\nMachine: " not in found[part]] == []


def test_a_part_that_was_never_measured_is_empty() -> None:
    assert parts_of("# Benchmarks\n\nx\n\n## Pages\n\ny\n") == {
        "rebuilds": "# Benchmarks\n\nx\n\n",
        "attestations": "",
        "rebuilders": "",
        "pages": "\ny\n",
        "api": "",
    }
