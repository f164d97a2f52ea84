"""Every page of a full portal keeps to its budget of statements, bytes, and what holds up its paint."""

from __future__ import annotations

from pathlib import Path

import pytest

from builds.bench.page_store import Scale, fill
from builds.bench.page_times import MOST_QUERIES, MOST_SENT, PageFigures, measure

pytestmark = pytest.mark.django_db

# Those that are no HTML have no style sheet; a search that finds one thing is an answer without a body.
_WITHOUT_STYLE = {"feed", "badge", "log, the tail of a running one", "search, a measurement"}


@pytest.fixture
def figures(tmp_path: Path) -> list[PageFigures]:
    fill(Scale(releases=8, rebuilds=80, components=800, log_lines=8000), tmp_path / "keys")
    return measure(1)


def test_every_page_keeps_to_its_budget(figures: list[PageFigures]) -> None:
    assert len(figures) > 20
    for page in figures:
        assert page.queries <= MOST_QUERIES, page
        assert page.sent <= MOST_SENT, page
        assert page.blocking == (page.name not in _WITHOUT_STYLE), page
