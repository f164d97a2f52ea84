"""The verdict in plain words: a text of a few sentences, composed from the evidence, that ends with the decision.

What strangers wrote is shortened here; the page shows it whole where the evidence stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from builds.domain.comparison import RebuildOutcome
from builds.domain.condition_words import in_short
from builds.domain.conditions import Condition, ConditionState, open_opaque, unknown_of_files
from builds.domain.consensus import contradicting, environment_difference, tally_of, unlike_roles
from builds.domain.evidence import (
    COVERABLE,
    AttestationState,
    MeasurementEvidence,
    MeasurementState,
    OpaqueInput,
    OperatorResult,
    ReleaseEvidence,
)
from builds.domain.launch import FIRMWARE_COVERAGE
from builds.domain.printable import in_brief
from builds.domain.roles import Role

_PARTS = {
    "katana": "katana",
    "kernel": "kernel",
    "initrd": "initrd",
    "ovmf": "firmware",
    "disk": "disk",
    "cmdline": "command line",
}
_MOST_NAMED = 3
"""So many operators or opaque inputs are named, and the rest counted."""
_MOST_NOT_COVERED, _LONGEST_NAME = 8, 100


def compose(evidence: ReleaseEvidence, outcome: RebuildOutcome | None, unmet: Sequence[Condition]) -> tuple[str, ...]:
    """What rebuilding showed, who published it, what the measurement binds, and the decision; a paragraph for each.

    ``unmet`` are the conditions that do not hold; without any the decision is to allow. The last is the decision alone.
    """
    reproduced = outcome is RebuildOutcome.REPRODUCED
    axes = (
        _files(evidence),
        _rebuilt(evidence, outcome),
        _attested(evidence, reproduced=reproduced),
        _measured(evidence, reproduced=reproduced),
        _taken_as_is(evidence),
        [_decision(evidence, unmet)],
    )
    paragraphs = (" ".join(sentences) for sentences in axes)
    return tuple(text for text in paragraphs if text)


def part_name(name: str) -> str:
    """A component or a part that a measurement binds, as a newcomer reads it: ``ovmf`` is the firmware."""
    return _PARTS.get(name, name)


def listed(names: Iterable[str], last: str = "and") -> str:
    """``a, b and c``."""
    found = list(names)
    return f" {last} ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


def _roles(roles: Iterable[Role]) -> str:
    wanted = set(roles)
    return listed(part_name(role) for role in Role if role in wanted)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _files(evidence: ReleaseEvidence) -> Iterator[str]:
    if evidence.contradictions:
        yield "The published files contradict their own manifest."
        yield from map(in_brief, evidence.contradictions)
    if evidence.changes:
        yield "What is published now is not what was first seen here, and what was first seen is judged."
    yield from map(in_brief, unknown_of_files(evidence))


def _rebuilt(evidence: ReleaseEvidence, outcome: RebuildOutcome | None) -> Iterator[str]:
    tally = tally_of(evidence)
    if outcome is None:
        yield from _not_rebuilt(evidence)
    elif outcome is RebuildOutcome.REPRODUCED:
        yield from _reproduced(evidence)
    elif tally.reproduced:
        yield from _disputed(evidence)
    else:
        yield from _not_reproduced(evidence)


def _reproduced(evidence: ReleaseEvidence) -> Iterator[str]:
    """Who got the same bytes; a component that was only copied is not told as built."""
    tally = tally_of(evidence)
    copied = _copied(evidence)
    built = {component.role for component in evidence.components} - copied
    what = "every component" if not copied or not built else _roles(built)
    verb = "rebuilt" if built else "made"
    yield (
        f"{tally.reproduced} of {tally.counted} independent operators ({tally.needed} needed) {verb} {what} from commit"
        f" {evidence.commit} with the same bytes."
    )
    yield from _same_input(copied, are_all=not built)


def _copied(evidence: ReleaseEvidence) -> set[Role]:
    return {role for result in evidence.counted for role in result.copied}


def _same_input(copied: set[Role], *, are_all: bool = False) -> Iterator[str]:
    """Components that no build step made, though every rebuild has the published bytes of them."""
    if copied:
        which = "Each" if are_all else _capital(_roles(copied))
        is_, it_is = ("is", "it is") if are_all or len(copied) == 1 else ("are", "they are")
        yield f"{which} {is_} the same input, copied as {it_is} and not built."


def _not_rebuilt(evidence: ReleaseEvidence) -> Iterator[str]:
    """A build that failed is no evidence; it is told in its own words, of an operator who counts."""
    tally = tally_of(evidence)
    if evidence.failure is not None:
        where, what = in_brief(evidence.failure.where), in_brief(evidence.failure.what).rstrip(".")
        yield f"No evidence either way: the rebuild stopped at {where}. {what}. Not a mismatch."
    elif tally.failed:
        who = "1 operator" if tally.failed == 1 else f"{tally.failed} operators"
        yield f"No evidence either way: {who} tried, and no rebuild ended with a result. Not a mismatch."
    else:
        expected = evidence.first_result_expected
        when = f"First result expected about {expected:%H:%M} UTC, or run" if expected is not None else "Run"
        yield f"Not rebuilt yet: 0 of {tally.needed}. {when} it yourself: one command."


def _disputed(evidence: ReleaseEvidence) -> Iterator[str]:
    """Who got other bytes than those who reproduced it, of what, and how their machines differ."""
    tally = tally_of(evidence)
    against = contradicting(evidence.counted)
    agreeing = next(result for result in evidence.counted if result.outcome is RebuildOutcome.REPRODUCED)
    named = [f"{in_brief(result.operator)}: {', '.join(result.differing)}" for result in against[:_MOST_NAMED]]
    more = f"; and {len(against) - _MOST_NAMED} more" if len(against) > _MOST_NAMED else ""
    yield (
        f"Disputed: {tally.reproduced} of {tally.counted} operators got every published byte from commit"
        f" {evidence.commit}, {tally.contradicting} did not ({'; '.join(named)}{more})."
    )
    yield from _first_difference(evidence)
    apart = environment_difference(against[0].environment, agreeing.environment)
    differ = "; ".join(map(in_brief, apart[:_MOST_NAMED])) if apart else "in nothing that they name"
    yield f"The machines of {in_brief(against[0].operator)} and {in_brief(agreeing.operator)} differ: {differ}."


def _first_difference(evidence: ReleaseEvidence) -> Iterator[str]:
    if evidence.first_difference:
        yield f"First difference: {in_brief(evidence.first_difference)}."


def _not_reproduced(evidence: ReleaseEvidence) -> Iterator[str]:
    """What nobody reproduced, and whether those who tried agree with each other against the publisher."""
    counted = evidence.counted
    rows = [row for result in counted for row in result.comparisons]
    roles = {row.role for row in rows}
    differing = {row.role for row in rows if row.outcome is RebuildOutcome.MISMATCHED}
    missing = {row.role for row in rows if row.outcome is RebuildOutcome.MISSING} - differing
    same = roles - differing - missing
    built, copied = same - _copied(evidence), same & _copied(evidence)
    if built:
        yield f"{_capital(_roles(built))} {_was(built)} reproduced from commit {evidence.commit}."
    else:
        yield f"No component was reproduced from commit {evidence.commit}."
    if differing:
        yield f"{_roles(differing)} {_was(differing)} not: {_among_each_other(counted)}."
    if missing:
        yield f"{_roles(missing)} {_was(missing)} not made by the rebuild."
    yield from _same_input(copied)
    yield from _first_difference(evidence)


def _was(roles: set[Role]) -> str:
    return "was" if len(roles) == 1 else "were"


def _among_each_other(counted: Sequence[OperatorResult]) -> str:
    if len(counted) == 1:
        return "1 operator got other bytes than were published"
    unlike = unlike_roles(counted)
    if not unlike:
        return f"{len(counted)} of {len(counted)} operators agree with each other, not with the publisher"
    return f"the {len(counted)} operators do not agree with each other either ({_roles(unlike)})"


def _attested(evidence: ReleaseEvidence, *, reproduced: bool) -> Iterator[str]:
    """Who published it, most alarming first; what nobody asked for is not called absent."""
    by_state: dict[AttestationState, list[Role]] = {}
    for role, state in evidence.attestation_states.items():
        by_state.setdefault(state, []).append(role)
    verified = by_state.get(AttestationState.VERIFIED, [])
    if set(by_state) == {AttestationState.VERIFIED}:
        yield f"The expected workflow attested {'them' if reproduced else 'every component'}."
    elif verified:
        yield f"The expected workflow attested {_roles(verified)}."
    for state, end in (
        (AttestationState.WRONG_IDENTITY, "Treat as hostile until explained."),
        (AttestationState.REJECTED, "An attestation that is rejected shows nothing of who published it."),
        (AttestationState.UNREADABLE, "An attestation that cannot be read shows nothing of who published it."),
        (AttestationState.ABSENT, _nothing_signed(evidence)),
    ):
        if roles := by_state.get(state):
            yield f"{_roles(roles)}: {in_brief(evidence.attestations[roles[0]].sentence)} {end}"
    if unchecked := by_state.get(AttestationState.UNCHECKED):
        yield f"Who published {_roles(unchecked)} is not checked."
    if not by_state:
        yield "There is no component that anybody could have attested."


def _nothing_signed(evidence: ReleaseEvidence) -> str:
    made = "Rebuilds show what it was made from; nothing" if evidence.counted else "Nothing"
    return f"{made} signed shows who published it."


def _measured(evidence: ReleaseEvidence, *, reproduced: bool) -> Iterator[str]:
    if not evidence.measurements:
        none = "No launch measurement was published, so none tells what a machine runs."
        yield from map(in_brief, evidence.unplaced or (none,))
    for entry in evidence.measurements:
        several = f" of {in_brief(entry.configuration)}" if len(evidence.measurements) > 1 else ""
        yield from _one_measurement(entry, f"measurement{several}", reproduced=reproduced)


def _one_measurement(entry: MeasurementEvidence, name: str, *, reproduced: bool) -> Iterator[str]:
    if entry.state is MeasurementState.DIFFERS:
        yield _other_value(entry, name)
    if not entry.coverage:
        yield f"The {name} could not be recomputed from the published files, so what it covers is unknown."
        return
    if entry.state is MeasurementState.UNKNOWN:
        why = "no rebuild has computed it" if entry.rebuilt is None else "none was published"
        yield f"The {name} is not confirmed: {why}."
    if entry.coverage == FIRMWARE_COVERAGE:
        start = "The files were reproduced, but the" if reproduced else "The"
        yield (
            f"{start} {name} covers firmware only: another kernel, initrd or command line would give the same"
            " measurement. A matching report does not show that this Katana runs."
        )
        return
    covered = listed(part_name(part) for part in COVERABLE if part in entry.coverage)
    what = _not_covered(entry)
    yield f"The {name} covers {covered}{f'; it does not cover {what}' if what else ''}."
    if Role.INITRD in entry.coverage and entry.katana_inside_initrd is None:
        yield "That the covered initrd holds this katana is not shown."


def _other_value(entry: MeasurementEvidence, name: str) -> str:
    """Which of the three values is another: of the published files, or only of the rebuilt ones."""
    if None not in (entry.published, entry.recomputed) and entry.published != entry.recomputed:
        return f"The published {name} is not the one that the published files give."
    return f"The rebuilt files give another {name} than the published one."


def _not_covered(entry: MeasurementEvidence) -> str:
    names = [in_brief(name, _LONGEST_NAME) for name in entry.not_covered[:_MOST_NOT_COVERED]]
    if len(entry.not_covered) > _MOST_NOT_COVERED:
        names.append(f"{len(entry.not_covered) - _MOST_NOT_COVERED} more")
    # A name that is a list itself would run into its neighbours.
    if any("," in name or " and " in name for name in names):
        return "; ".join(names)
    return listed(names, "or")


def _taken_as_is(evidence: ReleaseEvidence) -> Iterator[str]:
    """Opaque inputs are named also when the policy accepts them: they never vanish behind an Allow."""
    waiting = open_opaque(evidence)
    if waiting:
        around = "Rebuilt around" if evidence.counted else "It holds"
        one = len(waiting) == 1
        what = "a binary" if one else f"{len(waiting)} binaries"
        yield f"{around} {what} taken as is: {_named(waiting)}."
        yield f"Nobody has rebuilt {'that binary' if one else 'those binaries'} from source."
    accepted = [entry for entry in evidence.opaque if entry.digest in evidence.policy.accepted_opaque]
    if accepted:
        count = "1 binary" if len(accepted) == 1 else f"{len(accepted)} binaries"
        yield f"The policy accepts {count} that nobody rebuilt from source: {_named(accepted)}."


def _named(opaque: Sequence[OpaqueInput]) -> str:
    named = [f"{in_brief(entry.place)} ({entry.digest}, {in_brief(entry.reason)})" for entry in opaque[:_MOST_NAMED]]
    more = f"; and {len(opaque) - _MOST_NAMED} more" if len(opaque) > _MOST_NAMED else ""
    return "; ".join(named) + more


def _decision(evidence: ReleaseEvidence, unmet: Sequence[Condition]) -> str:
    if not unmet:
        return "Allow."
    reasons = "; ".join(in_short(unmet, evidence))
    keys = {entry.key: entry.state for entry in unmet}
    if keys == {"opaque-inputs-accepted": ConditionState.UNMET}:
        one = len(open_opaque(evidence)) == 1
        return f"Deny unless the policy accepts {'this digest' if one else 'these digests'}."
    waits = not evidence.counted and evidence.failure is None and not evidence.failed
    if waits and set(keys.values()) == {ConditionState.UNKNOWN} and keys.keys() <= _A_REBUILD_TELLS:
        return f"Deny until then: {reasons}."
    return f"Deny: {reasons}."


_A_REBUILD_TELLS = {
    "reproduced-by-enough-operators",
    "measurements-recompute",
    "measurement-covers-what-boots",
    "opaque-inputs-accepted",
}
