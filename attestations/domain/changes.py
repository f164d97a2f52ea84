"""What a verdict changed to and from, in words: of recorded verdicts, as they were recorded."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from builds.domain.printable import one_line

_NAMESPACE = uuid.UUID("6f0e1c5e-4b0f-5f0a-9d57-0d1f6c4f1b11")
_NOT_REBUILT = "not rebuilt yet"
_LONGEST_SENTENCE = 2000


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """What is told of a recorded verdict. ``outcome`` is empty while nobody's rebuild counted."""

    decision: str
    outcome: str
    needed: int
    reproduced: int
    contradicting: int
    failed: int
    conditions: tuple[tuple[str, str, str], ...]
    """Key, state and sentence of each."""
    sentence: str

    @property
    def counts(self) -> str:
        return f"{self.reproduced} reproduced, {self.contradicting} contradict, {self.failed} failed"


@dataclass(frozen=True, slots=True)
class ChangedCondition:
    """A condition whose state is another one; ``before`` or ``after`` is empty where there was or is none."""

    key: str
    before: str
    after: str
    sentence: str


def verdict_uuid(project: str, tag: str, at: datetime, basis: str) -> uuid.UUID:
    """A recorded verdict's own name, from what was recorded: the same on whatever host and database it lies.

    UUID version 5 (RFC 9562) over project, tag, moment and basis, a line each.
    """
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return uuid.uuid5(_NAMESPACE, f"{project}\n{tag}\n{moment}\n{basis}")


def feed_urn(fingerprint: str, *scope: str) -> str:
    """A feed's name: of the portal that signs with the key of this fingerprint, and of what the feed is about."""
    return uuid.uuid5(_NAMESPACE, "\n".join(["feed", fingerprint, *scope])).urn


def title(name: str, before: RecordedVerdict | None, after: RecordedVerdict) -> str:
    """``v1.0.1: deny, was allow``."""
    shown = one_line(name)
    if before is None:
        return f"{shown}: {after.decision}, first verdict"
    if before.decision == after.decision:
        return f"{shown}: still {after.decision}"
    return f"{shown}: {after.decision}, was {before.decision}"


def changed_conditions(before: RecordedVerdict | None, after: RecordedVerdict) -> tuple[ChangedCondition, ...]:
    """In the order of the newer verdict, then those that it does not have any more."""
    old = {key: state for key, state, _ in before.conditions} if before is not None else {}
    new = {key for key, _, _ in after.conditions}
    changed = [
        ChangedCondition(key, old.get(key, ""), state, one_line(sentence, _LONGEST_SENTENCE))
        for key, state, sentence in after.conditions
        if old.get(key, "") != state
    ]
    return (*changed, *(ChangedCondition(key, state, "", "") for key, state in old.items() if key not in new))


def what_changed(before: RecordedVerdict | None, after: RecordedVerdict) -> tuple[str, ...]:
    """Sentences, most important first; never none."""
    if before is None:
        return ("This is the first verdict of this release.",)
    said = []
    if before.decision != after.decision:
        said.append(f"The decision is {after.decision}; it was {before.decision}.")
    if before.outcome != after.outcome:
        said.append(f"The outcome is {after.outcome or _NOT_REBUILT}; it was {before.outcome or _NOT_REBUILT}.")
    if before.counts != after.counts:
        said.append(f"Operators: {after.counts}; before: {before.counts}.")
    if before.needed != after.needed:
        said.append(f"{after.needed} operators are needed; {before.needed} were.")
    said += [_said_of(entry) for entry in changed_conditions(before, after)]
    return tuple(said) or (
        "Decision, counts and conditions are as before; the evidence, the policy or the files behind them are others.",
    )


def _said_of(entry: ChangedCondition) -> str:
    if not entry.after:
        return f"The condition {entry.key} is not asked any more; it was {entry.before}."
    was = f"was {entry.before}" if entry.before else "was not asked before"
    return f"The condition {entry.key} is {entry.after}, {was}: {entry.sentence}"
