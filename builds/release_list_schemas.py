"""The API's shape for releases as lists have them, and how it is filled."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from django.urls import reverse
from ninja import Schema

from builds.operator_schemas import TallyOut, tally_out
from builds.services.evidence import ReleaseView


class ListedConditionOut(Schema):
    """A condition by its name; what it says is at the release's ``address``."""

    condition: str
    state: Literal["met", "unmet", "unknown"]


class ListedVerdictOut(Schema):
    """A verdict without what each condition says; ``unmet`` are those that do not hold.

    ``attestation`` and ``measurement`` are the most alarming states, null when there is none.
    """

    decision: str
    outcome: str | None
    attestation: str | None
    measurement: str | None
    tally: TallyOut
    unmet: list[ListedConditionOut]
    sentence: str


class ListedReleaseOut(Schema):
    """A release as lists have it; ``address`` is where all of it is, ``page`` the page for people."""

    project: str
    tag: str
    commit: str
    source_date_epoch: int
    imported_at: datetime
    contradicts_manifest: bool
    verdict: ListedVerdictOut
    address: str
    page: str


class ReleaseListOut(Schema):
    releases: list[ListedReleaseOut]
    next: int | None


def listed_release_out(view: ReleaseView, base: str) -> ListedReleaseOut:
    """``base`` is the portal's address without a slash at its end."""
    release, verdict = view.release, view.verdict
    return ListedReleaseOut(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        source_date_epoch=release.source_date_epoch,
        imported_at=release.imported_at,
        contradicts_manifest=view.contradicts,
        verdict=ListedVerdictOut(
            decision=verdict.decision.value,
            outcome=verdict.outcome.value if verdict.outcome is not None else None,
            attestation=verdict.attestation.value if verdict.attestation is not None else None,
            measurement=view.measured.value if view.measured is not None else None,
            tally=tally_out(verdict.tally),
            unmet=[ListedConditionOut(condition=entry.key, state=entry.state.value) for entry in verdict.unmet],
            sentence=verdict.sentence,
        ),
        address=base + reverse("api-1:release", args=[release.project.name, release.tag]),
        page=base + release.get_absolute_url(),
    )
