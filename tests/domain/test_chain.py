"""The chain of a release and its picture: each state from its evidence, and XML whatever strangers wrote."""

from __future__ import annotations

import itertools
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.chain import Chain, Publication, Step, chain_of
from builds.domain.chain_drawing import Box, Drawing
from builds.domain.evidence import AttestationState, BuildFailure, Policy, ReleaseEvidence
from builds.domain.launch import FIRMWARE_COVERAGE
from builds.domain.marks import Mark, Marked
from builds.domain.roles import Role
from builds.domain.verdict import judge
from builds.templatetags.checked import chain_picture
from tests.domain.test_verdict import OPAQUE, attested, evidences, measured, operator, perfect

PUBLICATION = Publication("v1.0.0", source_was_read=True, is_watched=True)
STEPS = ("source", "build", "files", "rebuilds", "measurement")
TIES = ("attested", "manifest", "rebuilt", "measured")


def chain(evidence: ReleaseEvidence, publication: Publication = PUBLICATION) -> Chain:
    return chain_of(publication, evidence, judge(evidence).conditions)


def states(found: Chain) -> dict[str, Marked]:
    return {
        **dict(zip(STEPS, (step.state for step in found.steps), strict=True)),
        **dict(zip(TIES, (tie.state for tie in found.ties), strict=True)),
    }


def attested_all(state: AttestationState) -> ReleaseEvidence:
    return replace(perfect(), attestations=dict.fromkeys(Role, attested(state)))


def test_all_good_holds_from_end_to_end() -> None:
    assert {state.mark for state in states(chain(perfect())).values()} == {Mark.HOLDS}


@pytest.mark.parametrize(
    ("evidence", "part", "words", "mark"),
    [
        (replace(perfect(), changes=("gone",)), "build", "changed", Mark.BROKEN),
        (replace(perfect(), unwatched="Not known."), "build", "not watched", Mark.UNKNOWN),
        (attested_all(AttestationState.WRONG_IDENTITY), "attested", "wrong signer", Mark.BROKEN),
        (attested_all(AttestationState.REJECTED), "attested", "rejected", Mark.BROKEN),
        (attested_all(AttestationState.UNREADABLE), "attested", "unreadable", Mark.BROKEN),
        (attested_all(AttestationState.ABSENT), "attested", "absent", Mark.UNKNOWN),
        (replace(perfect(), attestations={}), "attested", "unchecked", Mark.UNKNOWN),
        (replace(perfect(), components=()), "attested", "no component", Mark.UNKNOWN),
        (replace(perfect(), components=()), "files", "0 of 0 known", Mark.UNKNOWN),
        (replace(perfect(), contradictions=("x.",)), "manifest", "contradicts", Mark.BROKEN),
        (replace(perfect(), contradictions=("x.",)), "files", "contradict", Mark.BROKEN),
        (replace(perfect(), changes=("gone",)), "manifest", "changed", Mark.BROKEN),
        (replace(perfect(), absent=("disk: gone.",)), "manifest", "unknown", Mark.UNKNOWN),
        (replace(perfect(), results=()), "rebuilds", "not rebuilt yet", Mark.UNKNOWN),
        (
            replace(perfect(), results=(), failed=1, failure=BuildFailure("a", "b")),
            "rebuilds",
            "failed",
            Mark.UNKNOWN,
        ),
        (replace(perfect(), results=(operator("one"),)), "rebuilt", "1 of 2", Mark.UNKNOWN),
        (replace(perfect(), results=(operator("one"),)), "rebuilds", "too few so far", Mark.UNKNOWN),
        (replace(perfect(), results=(operator("one", "b"),)), "rebuilt", "differs", Mark.BROKEN),
        (replace(perfect(), results=(operator("one"), operator("two", "b"))), "rebuilt", "disputed", Mark.BROKEN),
        (replace(perfect(), results=(operator("one", "b"),)), "rebuilds", "other bytes", Mark.BROKEN),
        (replace(perfect(), embedded=(OPAQUE,)), "rebuilds", "1 opaque input", Mark.UNKNOWN),
        (replace(perfect(), measurements=()), "measured", "unknown", Mark.UNKNOWN),
        (replace(perfect(), measurements=()), "measurement", "none published", Mark.UNKNOWN),
        (replace(perfect(), measurements=(measured(rebuilt=None),)), "measured", "unconfirmed", Mark.UNKNOWN),
        (replace(perfect(), measurements=(measured(rebuilt="b" * 96),)), "measured", "differs", Mark.BROKEN),
        (
            replace(perfect(), measurements=(measured(coverage=FIRMWARE_COVERAGE),)),
            "measurement",
            "firmware only",
            Mark.BROKEN,
        ),
        (
            replace(perfect(), measurements=(measured(katana_inside_initrd=None),)),
            "measurement",
            "not all shown",
            Mark.UNKNOWN,
        ),
    ],
)
def test_each_part_is_in_the_state_of_its_evidence(
    evidence: ReleaseEvidence, part: str, words: str, mark: Mark
) -> None:
    assert states(chain(evidence))[part] == Marked(words, mark)


def test_a_source_that_could_not_be_read_and_a_release_nobody_watches_look_unknown() -> None:
    found = states(chain(perfect(), Publication("v1", source_was_read=False, is_watched=False)))
    assert (found["source"], found["build"]) == (
        Marked("not read", Mark.UNKNOWN),
        Marked("not watched", Mark.UNKNOWN),
    )


def test_an_accepted_opaque_input_leaves_the_rebuilds_whole() -> None:
    accepted = replace(perfect(), embedded=(OPAQUE,), policy=Policy(2, frozenset({OPAQUE.digest})))
    assert states(chain(accepted))["rebuilds"].mark is Mark.HOLDS


@given(evidences)
def test_no_part_holds_because_its_data_was_absent(evidence: ReleaseEvidence) -> None:
    found = states(chain(evidence))
    if not evidence.counted:
        assert found["rebuilds"].mark is found["rebuilt"].mark is Mark.UNKNOWN
    if not evidence.components:
        assert Mark.HOLDS not in {found[part].mark for part in ("files", "manifest", "attested")}
    if not evidence.measurements:
        assert Mark.HOLDS not in {found[part].mark for part in ("measurement", "measured")}
    if set(AttestationState) & {AttestationState.VERIFIED} != set(evidence.attestation_states.values()):
        assert found["attested"].mark is not Mark.HOLDS


# The picture.

texts = st.text(max_size=300)
steps = st.builds(
    Step,
    title=texts,
    lines=st.lists(texts, max_size=3).map(tuple),
    state=st.builds(Marked, texts, st.sampled_from(Mark)),
    evidence=st.just("facts"),
)
chains = st.builds(
    Chain, steps=st.tuples(steps, steps, steps, steps, steps), ties=st.tuples(steps, steps, steps, steps)
)
SVG = "{http://www.w3.org/2000/svg}"


def picture(drawing: Drawing) -> ET.Element:
    html = render_to_string("builds/partials/chain.html", chain_picture(drawing))
    return ET.fromstring(html.replace("<svg class", '<svg xmlns="http://www.w3.org/2000/svg" class', 1))


@given(chains)
def test_whatever_strangers_wrote_the_picture_is_xml_with_nine_links_in_order(found: Chain) -> None:
    for drawing in (Drawing.wide(found), Drawing.tall(found)):
        root = picture(drawing)
        links = root.findall(f"{SVG}a")
        assert len(links) == 9
        assert all(link.get("href") == "#facts" for link in links)
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            *("svg", "title", "desc", "a", "clipPath", "g", "rect", "line", "polygon", "text")
        }
        assert all(len(text.text or "") <= 30 for text in root.iter(f"{SVG}text"))


@given(chains)
def test_nothing_in_the_picture_lies_over_something_else_or_outside(found: Chain) -> None:
    for drawing in (Drawing.wide(found), Drawing.tall(found)):
        boxes = [part for part in drawing.parts if isinstance(part, Box)]
        for box in boxes:
            assert 0 <= box.x < box.x + box.width <= drawing.width
            assert 0 <= box.y < box.y + box.height <= drawing.height
        for one, other in itertools.pairwise(boxes):
            assert other.x >= one.x + one.width or other.y >= one.y + one.height


def test_a_state_is_a_shape_and_a_stroke_besides_its_colour() -> None:
    for mark, shape, strokes, inner in ((Mark.HOLDS, "✓", 1, 0), (Mark.BROKEN, "✕", 2, 1), (Mark.UNKNOWN, "◔", 1, 0)):
        step = Step("A", (), Marked("word", mark), "facts")
        drawing = Drawing.wide(Chain((step,) * 5, (step,) * 4))
        root = picture(drawing)
        assert len(root.findall(f".//{SVG}rect[@class='inner']")) == 5 * inner
        assert len(root.findall(f".//{SVG}line")) == 4 * strokes
        words = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "mark"]
        assert words == [f"{shape} word "] * 9
        # The link's name for who cannot see it is its text: words with spaces between them.
        assert "".join(root.findall(f"{SVG}a")[0].itertext()) == f"A {shape} word "
