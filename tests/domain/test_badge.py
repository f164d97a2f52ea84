"""A badge says no more than the verdict, is green for nothing but an allow, and is always a document."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.badge import NOTHING_KNOWN, Badge, Tone, badge_of
from builds.domain.badge_svg import badge_svg, text_width
from builds.domain.conditions import ConditionState
from builds.domain.evidence import AttestationState, Policy, ReleaseEvidence
from builds.domain.printable import in_brief, one_line, xml_text
from builds.domain.roles import Role
from builds.domain.verdict import Decision, judge
from tests.domain.test_verdict import OPAQUE, attested, measured, operator, perfect

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
FIRMWARE = frozenset({"ovmf"})


def badge(evidence: ReleaseEvidence, differing: tuple[str, ...] = ()) -> Badge:
    return badge_of("v1.0.1", judge(evidence), differing)


def all_attested(state: AttestationState) -> ReleaseEvidence:
    return replace(perfect(), attestations=dict.fromkeys(Role, attested(state)))


CASES = [
    (perfect(), (), "allow · reproduced by 2 operators", Tone.GOOD),
    (replace(perfect(), policy=Policy(1, frozenset()), results=(operator("one"),)), (),
     "allow · reproduced by 1 operator", Tone.GOOD),
    (replace(perfect(), results=()), (), "deny · not rebuilt yet", Tone.OPEN),
    (replace(perfect(), results=(operator("one"),)), (), "deny · reproduced by 1, 2 needed", Tone.OPEN),
    (replace(perfect(), results=(operator("one", "b"),)), ("initrd",), "deny · initrd mismatched", Tone.BAD),
    (replace(perfect(), results=(operator("one", "b"),)), ("initrd", "disk"), "deny · initrd and 1 more mismatched",
     Tone.BAD),
    (replace(perfect(), results=(operator("one"), operator("two", "b"))), ("initrd",), "deny · disputed", Tone.BAD),
    (replace(perfect(), contradictions=("It says so.",)), (), "deny · published files in doubt", Tone.BAD),
    (replace(perfect(), changes=("the tag",)), (), "deny · published files in doubt", Tone.BAD),
    (replace(perfect(), unwatched="Nobody looked."), (), "deny · published files unknown", Tone.OPEN),
    (all_attested(AttestationState.WRONG_IDENTITY), (), "deny · wrong signer", Tone.BAD),
    (all_attested(AttestationState.REJECTED), (), "deny · attestation rejected", Tone.BAD),
    (all_attested(AttestationState.ABSENT), (), "deny · attestation absent", Tone.BAD),
    (all_attested(AttestationState.UNCHECKED), (), "deny · attestation unchecked", Tone.OPEN),
    (replace(perfect(), measurements=(measured(recomputed="b" * 96),)), (), "deny · measurement differs", Tone.BAD),
    (replace(perfect(), measurements=(measured(coverage=FIRMWARE),)), (), "deny · measurement covers too little",
     Tone.BAD),
    (replace(perfect(), measurements=()), (), "deny · measurement coverage unknown", Tone.OPEN),
    (replace(perfect(), embedded=(OPAQUE,)), (), "deny · opaque inputs", Tone.BAD),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "differing", "words", "tone"), CASES, ids=[case[2] for case in CASES])
def test_each_verdict_has_its_words(
    evidence: ReleaseEvidence, differing: tuple[str, ...], words: str, tone: Tone
) -> None:
    made = badge(evidence, differing)
    assert (made.label, made.message, made.tone) == ("TEE image v1.0.1", words, tone)


@pytest.mark.parametrize("evidence", [case[0] for case in CASES], ids=[case[2] for case in CASES])
def test_only_an_allow_is_green_and_everything_else_keeps_shields_from_recolouring_it(
    evidence: ReleaseEvidence,
) -> None:
    verdict, made = judge(evidence), badge(evidence)
    allows = verdict.decision is Decision.ALLOW
    assert (made.tone is Tone.GOOD) is allows
    assert made.as_shields() == {
        "schemaVersion": 1,
        "label": made.label,
        "message": made.message,
        "color": made.tone.colour,
        "isError": not allows,
    }
    assert made.message.startswith(f"{verdict.decision.value} · ")
    assert (made.tone is Tone.OPEN) is (
        not allows and all(entry.state is ConditionState.UNKNOWN for entry in verdict.unmet)
    )


def test_what_is_not_known_says_so_and_is_an_error() -> None:
    assert NOTHING_KNOWN.message == "unknown"
    assert NOTHING_KNOWN.as_shields()["isError"] is True


def test_each_tone_has_a_shape_of_its_own() -> None:
    drawn = [badge_svg(Badge("a", "b", tone)).partition("<g ")[2].partition("</g>")[0] for tone in Tone]
    assert len(set(drawn)) == len(Tone)


def test_the_white_words_can_be_read_on_every_colour() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))

    assert all(1.05 / (luminance(tone.colour) + 0.05) >= 6 for tone in Tone)


@given(tag=ANY_TEXT, differing=st.lists(ANY_TEXT, max_size=3))
def test_any_tag_gives_a_badge_that_is_xml_without_anything_that_runs_or_loads(tag: str, differing: list[str]) -> None:
    made = badge_of(tag, judge(replace(perfect(), results=(operator("one", "b"),))), differing)
    document = badge_svg(made)
    root = ET.fromstring(document)
    names = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()}
    assert names <= {"svg", "title", "rect", "path", "g", "text", "circle"}
    assert not [name for element in root.iter() for name in element.attrib if "href" in name or name.startswith("on")]
    assert root.attrib["role"] == "img"
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == root.attrib["aria-label"] == xml_text(made.sentence)
    assert len(made.label) <= 60
    assert badge_svg(made) == document


@given(text=ANY_TEXT)
def test_the_room_for_a_text_grows_with_each_character(text: str) -> None:
    assert 3 * len(text) <= text_width(text) <= 13 * len(text)


@given(text=ANY_TEXT, limit=st.integers(2, 400))
def test_a_shortened_text_fits_and_begins_as_the_whole_one(text: str, limit: int) -> None:
    short = in_brief(text, limit)
    assert len(short) <= limit
    assert short == one_line(text, limit) or (short.endswith("…") and one_line(text, limit).startswith(short[:-1]))


def test_a_text_is_cut_at_a_word() -> None:
    assert in_brief("three independent operators rebuilt it", 24) == "three independent…"
    assert in_brief("a" * 50, 10) == f"{'a' * 9}…"
