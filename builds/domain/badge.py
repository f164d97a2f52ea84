"""A release's verdict in a few words, for a badge: never more than the decision says, and never green unless it allows.

``isError`` of shields.io's endpoint schema keeps whoever embeds a badge from giving it another colour.
Source: https://shields.io/badges/endpoint-badge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.evidence import AttestationState
from builds.domain.printable import in_brief, one_line
from builds.domain.verdict import Decision, ReleaseVerdict

WHAT = "TEE image"
_LONGEST_TAG = 40


class Tone(StrEnum):
    """How a badge looks: each has a colour and a shape of its own."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"
    UNKNOWN = "unknown"

    @property
    def colour(self) -> str:
        """Six hexadecimal digits; white text on each has a contrast of 6 or more."""
        return _COLOURS[self]


_COLOURS = {Tone.GOOD: "0f6128", Tone.BAD: "a20d25", Tone.OPEN: "754800", Tone.UNKNOWN: "545d68"}


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says: ``label`` names the thing, ``message`` its verdict."""

    label: str
    message: str
    tone: Tone

    @property
    def sentence(self) -> str:
        return f"{self.label}: {self.message}"

    def as_shields(self) -> dict[str, str | int | bool]:
        """The endpoint schema, version 1."""
        return {
            "schemaVersion": 1,
            "label": self.label,
            "message": self.message,
            "color": self.tone.colour,
            "isError": self.tone is not Tone.GOOD,
        }


NOTHING_KNOWN = Badge(WHAT, "unknown", Tone.UNKNOWN)
"""Of a project or release that this portal has never seen."""


def badge_of(tag: str, verdict: ReleaseVerdict, differing: Sequence[str]) -> Badge:
    """The badge of a release; ``differing`` are the components that were not reproduced, by role.

    A denial without evidence against the release is open, not bad: unknown denies, and is no alarm.
    """
    label = f"{WHAT} {in_brief(tag, _LONGEST_TAG)}"
    if verdict.decision is Decision.ALLOW:
        count = verdict.tally.reproduced
        return Badge(label, f"allow · reproduced by {count} operator{'' if count == 1 else 's'}", Tone.GOOD)
    against = any(entry.state is ConditionState.UNMET for entry in verdict.unmet)
    return Badge(label, f"deny · {_reason(verdict, differing)}", Tone.BAD if against else Tone.OPEN)


def _reason(verdict: ReleaseVerdict, differing: Sequence[str]) -> str:
    """The first of the reasons to deny, most alarming first."""
    states = {entry.key: entry.state for entry in verdict.conditions}
    hostile = {AttestationState.REJECTED: "attestation rejected", AttestationState.WRONG_IDENTITY: "wrong signer"}
    if states.get("files-match-manifest") is ConditionState.UNMET:
        return "published files in doubt"
    if verdict.attestation in hostile:
        return hostile[verdict.attestation]
    if verdict.tally.contradicting:
        return "disputed" if verdict.tally.reproduced else _not_reproduced(verdict, differing)
    if states.get("measurements-recompute") is ConditionState.UNMET:
        return "measurement differs"
    if verdict.outcome is None:
        return "not rebuilt yet"
    return _lacking(verdict, states)


def _not_reproduced(verdict: ReleaseVerdict, differing: Sequence[str]) -> str:
    word = (verdict.outcome or RebuildOutcome.MISMATCHED).value
    if not differing:
        return word
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    return f"{one_line(differing[0], 20)}{more} {word}"


def _lacking(verdict: ReleaseVerdict, states: dict[str, ConditionState]) -> str:
    """What is missing of a release that somebody reproduced and nobody contradicts."""
    tally = verdict.tally
    if tally.reproduced < tally.needed:
        return f"reproduced by {tally.reproduced}, {tally.needed} needed"
    if verdict.attestation is not AttestationState.VERIFIED:
        return f"attestation {(verdict.attestation or AttestationState.UNCHECKED).value}"
    words = {
        "measurement-covers-what-boots": "measurement covers too little",
        "opaque-inputs-accepted": "opaque inputs",
        "measurements-recompute": "measurement unknown",
        "files-match-manifest": "published files unknown",
    }
    open_keys = [key for key in words if states.get(key, ConditionState.UNKNOWN) is not ConditionState.MET]
    first = open_keys[0] if open_keys else ""
    if first == "measurement-covers-what-boots" and states.get(first) is not ConditionState.UNMET:
        return "measurement coverage unknown"
    return words.get(first, "a condition does not hold")
