"""One message to one receiver: what it says, how it goes on when it does not arrive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from attestations.domain.changes import RecordedVerdict, changed_conditions, what_changed

MOST_ATTEMPTS = 8
VERDICT_CHANGED = "verdict.changed"
TEST = "test"
_FIRST_SECONDS = 15.0
_JITTER = 0.2
_OK = range(200, 300)
_REDIRECTS = range(300, 400)


class DeliveryState(StrEnum):
    """A failed delivery is tried again, one that is given up is not."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    GIVEN_UP = "given up"


def retry_delay(attempts: int, chance: float) -> timedelta:
    """How long to wait after so many attempts (from 1): four times as long each time, about a day over all of them.

    ``chance`` in [0, 1) spreads it by a fifth to either side, so that a receiver that comes back is not met by
    everything at once.
    """
    return timedelta(seconds=_FIRST_SECONDS * 4.0 ** (attempts - 1) * (1 - _JITTER + 2 * _JITTER * chance))


def is_accepted(status: int) -> bool:
    return status in _OK


def is_redirect(status: int) -> bool:
    return status in _REDIRECTS


@dataclass(frozen=True, slots=True)
class ReleaseAddresses:
    """Whom a message is about and where to read on; addresses are paths while the portal has no public address."""

    project: str
    tag: str
    commit: str
    release: str
    bundle: str | None
    """The signed summary; None for a verdict that nobody signed because no published byte is known."""


def verdict_body(
    before: RecordedVerdict | None, after: RecordedVerdict, at: datetime, number: int, about: ReleaseAddresses
) -> bytes:
    """The message that a verdict changed. ``number`` counts the release's verdicts from 1, so that gaps are seen."""
    return _body(
        VERDICT_CHANGED,
        at,
        {
            "release": {
                "project": about.project,
                "tag": about.tag,
                "commit": about.commit,
                "address": about.release,
            },
            "number": number,
            "before": _told(before) if before is not None else None,
            "after": _told(after),
            "changed_conditions": [
                {"key": entry.key, "before": entry.before or None, "after": entry.after or None, "why": entry.sentence}
                for entry in changed_conditions(before, after)
            ],
            "what_changed": list(what_changed(before, after)),
            "sentence": after.sentence,
            "signed_summary": about.bundle,
        },
    )


def trial_body(webhook: str, at: datetime) -> bytes:
    """A message that says nothing about any release."""
    return _body(TEST, at, {"webhook": webhook, "sentence": "A test: nothing changed."})


def _body(kind: str, at: datetime, data: dict[str, object]) -> bytes:
    """Half characters, which no document can hold, are escaped with everything else that is not ASCII."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": moment, "data": data}).encode("ascii")


def _told(verdict: RecordedVerdict) -> dict[str, object]:
    return {
        "decision": verdict.decision,
        "outcome": verdict.outcome or None,
        "needed": verdict.needed,
        "reproduced": verdict.reproduced,
        "contradicting": verdict.contradicting,
        "failed": verdict.failed,
    }
