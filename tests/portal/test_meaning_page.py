"""The page that says what each word means: every word, once, as it is shown elsewhere and as the documents say it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from django.test import Client

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState, conditions_of
from builds.domain.evidence import AttestationState, MeasurementState, Policy, ReleaseEvidence
from builds.domain.lifecycle import RunState
from builds.domain.meanings import AXES, every_word
from builds.domain.origins import OriginKind
from builds.domain.verdict import Decision
from builds.templatetags.portal import state_of

ROOT = Path(__file__).parents[2]
NOTHING = ReleaseEvidence("c" * 40, (), (), (), {}, (), (), Policy(2, frozenset()))
KEYS = [condition.key for condition in conditions_of(NOTHING)]
STATES = [
    *RunState,
    *RebuildOutcome,
    *AttestationState,
    *MeasurementState,
    *ConditionState,
    *Decision,
    *OriginKind,
]


def test_every_state_of_every_axis_is_explained_exactly_once() -> None:
    explained = [entry.state for entry in every_word() if entry.state is not None]
    for state in STATES:
        assert sum(type(state) is type(entry) and state is entry for entry in explained) == 1, state


def test_every_condition_is_explained_in_the_order_of_pages() -> None:
    axis = next(axis for axis in AXES if axis.anchor == "conditions")
    assert [entry.word for entry in axis.words] == KEYS


def test_every_anchor_leads_to_one_place_and_is_one_word(client: Client) -> None:
    page = client.get("/what-a-verdict-means/").text
    anchors = re.findall(r'\bid="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))
    for entry in every_word():
        assert re.fullmatch(r"[a-z-]+", entry.anchor)
        assert entry.anchor in anchors
    for name in ("reproduced", "failed", "verified", "unknown", "same-input", "check", "not-proven"):
        assert name in anchors


def test_a_word_looks_as_on_every_other_page(client: Client) -> None:
    page = client.get("/what-a-verdict-means/").text
    for state in STATES:
        assert state_of(state) in page
    assert '<span class="state good">reproduced</span>' in page
    assert '<span class="state bad">mismatched</span>' in page
    assert '<span class="state open">absent</span>' in page


def test_the_page_needs_no_database_and_says_what_is_no_evidence_and_how_to_check_without_it(
    client: Client,
) -> None:
    page = html.unescape(client.get("/what-a-verdict-means/").text)
    for words in (
        "Unsuccessful is not an attack",
        "A failed rebuild is no evidence",
        "sha256sum",
        "sha384sum",
        "sev-snp-measure --mode snp",
        "cosign verify-blob-attestation",
        "openssl pkeyutl -verify",
        "tee-portal-rebuilder rebuild TAG --portal http://testserver",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("document", "words"),
    [("docs/verdict.md", KEYS), ("docs/attestations.md", [state.value for state in AttestationState])],
)
def test_page_and_document_say_the_same(document: str, words: list[str]) -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", (ROOT / document).read_text(), re.MULTILINE))
    said = {entry.word: entry.means for entry in every_word()}
    for word in words:
        assert _plain(rows[word]) == said[word]


def _plain(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def test_the_legend_shows_the_words_of_lists_and_links_each_to_its_meaning() -> None:
    legend = render_to_string("builds/partials/legend.html")
    for state in (*Decision, *AttestationState, *RebuildOutcome, *MeasurementState):
        assert state_of(state) in legend
    assert 'href="/what-a-verdict-means/#wrong-identity"' in legend
    assert 'href="/what-a-verdict-means/#measurement-unknown"' in legend
    assert "Unsuccessful is not an attack" in legend
