"""What each condition of a verdict asks for, in words for somebody who meets them the first time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from builds.domain.conditions import Condition, ConditionState
from builds.domain.consensus import tally_of
from builds.domain.evidence import AttestationState, ReleaseEvidence
from builds.domain.launch import FIRMWARE_COVERAGE

_ATTESTATION_WORDS = (
    (AttestationState.WRONG_IDENTITY, "signed by somebody who is not the expected publisher"),
    (AttestationState.REJECTED, "an attestation was rejected"),
    (AttestationState.UNREADABLE, "an attestation cannot be read"),
    (AttestationState.ABSENT, "attestation absent"),
)


@dataclass(frozen=True, slots=True)
class ConditionWords:
    """A condition's title, and what it means for somebody who runs the release that it does not hold."""

    title: str
    meaning: str


_WORDS = {
    "files-match-manifest": ConditionWords(
        "The published files are what their manifest says",
        "Without that nobody can say which bytes this verdict is about: a file may have been replaced.",
    ),
    "attested-by-expected-publisher": ConditionWords(
        "The expected publisher signed every component",
        "Without that nothing shows that these files come from the project; anybody could have made them.",
    ),
    "reproduced-by-enough-operators": ConditionWords(
        "Enough independent operators got the same bytes from the source",
        "Without that only the publisher says that these files are what the source code gives.",
    ),
    "measurements-recompute": ConditionWords(
        "The launch measurement follows from the files",
        "Without that a report from the hardware with this measurement says nothing about these files.",
    ),
    "measurement-covers-what-boots": ConditionWords(
        "The launch measurement covers all that boots",
        "Without that a machine that runs something else could show the same measurement.",
    ),
    "opaque-inputs-accepted": ConditionWords(
        "Nothing was taken as is that the policy does not accept",
        "Without that the files hold bytes that nobody rebuilt from source, and that nobody said to trust.",
    ),
}


def words_of(key: str) -> ConditionWords:
    """The words of a condition by its key; a key that has none is its own title."""
    return _WORDS.get(key, ConditionWords(key, ""))


def in_short(unmet: Iterable[Condition], evidence: ReleaseEvidence) -> list[str]:
    """For each condition that does not hold, a few words that say why it does not; in their order."""
    return [_SHORT[entry.key](entry, evidence) for entry in unmet]


def _files(condition: Condition, evidence: ReleaseEvidence) -> str:
    if condition.state is ConditionState.UNKNOWN:
        return "the published files are not fully known"
    if evidence.contradictions:
        return "the published files contradict their manifest"
    return "the published files changed"


def _attestation(_condition: Condition, evidence: ReleaseEvidence) -> str:
    found: Collection[AttestationState] = evidence.attestation_states.values()
    return next((words for state, words in _ATTESTATION_WORDS if state in found), "attestations are not checked")


def _rebuilds(condition: Condition, evidence: ReleaseEvidence) -> str:
    tally = tally_of(evidence)
    if condition.state is ConditionState.UNKNOWN:
        return f"{tally.reproduced} of {tally.needed} rebuilt"
    return "operators disagree" if tally.reproduced else "the published bytes were not reproduced"


def _measurement(condition: Condition, _evidence: ReleaseEvidence) -> str:
    known = condition.state is ConditionState.UNMET
    return "the measurement differs" if known else "the measurement is not confirmed"


def _coverage(condition: Condition, evidence: ReleaseEvidence) -> str:
    if any(entry.coverage == FIRMWARE_COVERAGE for entry in evidence.measurements):
        return "coverage is firmware only"
    known = condition.state is ConditionState.UNMET
    return "coverage leaves out something that boots" if known else "coverage is not shown"


def _opaque(condition: Condition, _evidence: ReleaseEvidence) -> str:
    known = condition.state is ConditionState.UNMET
    return "an opaque input is not accepted" if known else "origins of the files are not known"


_SHORT: Mapping[str, Callable[[Condition, ReleaseEvidence], str]] = {
    "files-match-manifest": _files,
    "attested-by-expected-publisher": _attestation,
    "reproduced-by-enough-operators": _rebuilds,
    "measurements-recompute": _measurement,
    "measurement-covers-what-boots": _coverage,
    "opaque-inputs-accepted": _opaque,
}
