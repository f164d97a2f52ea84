"""The chain of a release: source commit, published build, files, rebuilds, measurement, and what ties each to the next.

Each step and each tie has its state from the evidence; what nobody knows stays unknown, and so never looks good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builds.domain.conditions import Condition, ConditionState, open_opaque
from builds.domain.consensus import tally_of
from builds.domain.coverage import ATTESTATION_MARKS
from builds.domain.evidence import AttestationState, MeasurementState, ReleaseEvidence, worst_attestation
from builds.domain.launch import FIRMWARE_COVERAGE
from builds.domain.marks import Mark, Marked
from builds.domain.sentence import part_name


@dataclass(frozen=True, slots=True)
class Step:
    """One thing in the chain, or what ties it to the one before: a title, details in lines, how it stands, and the
    heading on the page (its id) under which the evidence is.
    """

    title: str
    lines: tuple[str, ...]
    state: Marked
    evidence: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Five steps, and the four ties between them in their order."""

    steps: tuple[Step, ...]
    ties: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """What the chain says of a release besides its evidence."""

    tag: str
    source_was_read: bool
    is_watched: bool
    """Whether somebody looks if what is published stays what it was."""


def chain_of(publication: Publication, evidence: ReleaseEvidence, conditions: Sequence[Condition]) -> Chain:
    """The chain from the evidence and the conditions that were derived from it."""
    states = {entry.key: entry.state for entry in conditions}
    steps = (
        _source(publication, evidence),
        _build(publication, evidence),
        _files(evidence),
        _rebuilds(evidence),
        _measurement(evidence, states["measurement-covers-what-boots"]),
    )
    ties = (
        Step("attested", (), _signed(evidence), "attestations"),
        Step("manifest", (), _manifest(evidence, states["files-match-manifest"]), "components"),
        Step("rebuilt", (), _rebuilt(evidence, states["reproduced-by-enough-operators"]), "operators"),
        Step("measured", (), _measured(evidence), "coverage"),
    )
    return Chain(steps, ties)


def _source(publication: Publication, evidence: ReleaseEvidence) -> Step:
    state = Marked("read here", Mark.HOLDS) if publication.source_was_read else Marked("not read", Mark.UNKNOWN)
    half = len(evidence.commit) // 2
    return Step("Source commit", (evidence.commit[:half], evidence.commit[half:]), state, "facts")


def _build(publication: Publication, evidence: ReleaseEvidence) -> Step:
    state = Marked("unchanged", Mark.HOLDS)
    if evidence.changes:
        state = Marked("changed", Mark.BROKEN)
    elif evidence.unwatched or not publication.is_watched:
        state = Marked("not watched", Mark.UNKNOWN)
    return Step("Published build", (publication.tag,), state, "history")


def _files(evidence: ReleaseEvidence) -> Step:
    count = len(evidence.components)
    known = sum(component.content is not None for component in evidence.components)
    names = [part_name(component.role) for component in evidence.components]
    lines = tuple(", ".join(names[start : start + 3]) for start in range(0, count, 3))
    if evidence.contradictions:
        state = Marked("contradict", Mark.BROKEN)
    elif count and known == count:
        state = Marked("all hashed", Mark.HOLDS)
    else:
        state = Marked(f"{known} of {count} known", Mark.UNKNOWN)
    return Step("Files", lines, state, "components")


def _rebuilds(evidence: ReleaseEvidence) -> Step:
    tally, opaque = tally_of(evidence), len(open_opaque(evidence))
    lines = (f"{tally.reproduced} of {tally.counted} operators", f"{tally.needed} needed")
    if tally.contradicting:
        state = Marked("other bytes", Mark.BROKEN)
    elif not tally.counted:
        state = Marked("failed" if tally.failed else "not rebuilt yet", Mark.UNKNOWN)
    elif tally.reproduced < tally.needed:
        state = Marked("too few so far", Mark.UNKNOWN)
    elif opaque:
        state = Marked(f"{opaque} opaque input{'' if opaque == 1 else 's'}", Mark.UNKNOWN)
    else:
        state = Marked("same bytes", Mark.HOLDS)
    return Step("Rebuilds", lines, state, "operators")


def _measurement(evidence: ReleaseEvidence, covers: ConditionState) -> Step:
    names = [entry.configuration for entry in evidence.measurements]
    count = len(names)
    lines = (names[0] if count == 1 else f"{count} configurations",)
    if covers is ConditionState.MET:
        state = Marked("covers all", Mark.HOLDS)
    elif any(entry.coverage == FIRMWARE_COVERAGE for entry in evidence.measurements):
        state = Marked("firmware only", Mark.BROKEN)
    elif covers is ConditionState.UNMET:
        state = Marked("not all covered", Mark.BROKEN)
    else:
        state = Marked("not all shown" if names else "none published", Mark.UNKNOWN)
    return Step("Measurement", lines, state, "coverage")


def _signed(evidence: ReleaseEvidence) -> Marked:
    state = worst_attestation(evidence.attestation_states.values())
    if state is None:
        return Marked("no component", Mark.UNKNOWN)
    words = "wrong signer" if state is AttestationState.WRONG_IDENTITY else state.value
    return Marked(words, ATTESTATION_MARKS[state])


def _manifest(evidence: ReleaseEvidence, state: ConditionState) -> Marked:
    if state is ConditionState.UNMET:
        return Marked("contradicts" if evidence.contradictions else "changed", Mark.BROKEN)
    return Marked("agrees", Mark.HOLDS) if state is ConditionState.MET else Marked("unknown", Mark.UNKNOWN)


def _rebuilt(evidence: ReleaseEvidence, state: ConditionState) -> Marked:
    tally = tally_of(evidence)
    if state is ConditionState.UNMET:
        return Marked("disputed" if tally.reproduced else "differs", Mark.BROKEN)
    words = f"{tally.reproduced} of {tally.needed}"
    return Marked("reproduced", Mark.HOLDS) if state is ConditionState.MET else Marked(words, Mark.UNKNOWN)


def _measured(evidence: ReleaseEvidence) -> Marked:
    states = {entry.state for entry in evidence.measurements}
    if MeasurementState.DIFFERS in states:
        return Marked("differs", Mark.BROKEN)
    if states == {MeasurementState.MATCHES}:
        return Marked("equal", Mark.HOLDS)
    return Marked("unconfirmed" if states else "unknown", Mark.UNKNOWN)
