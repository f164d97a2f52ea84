"""The shapes of the portal's answers to rebuilders."""

from __future__ import annotations

import uuid

from ninja import Schema

from builds.models import RebuilderKey
from builds.services.consensus import not_counted
from builds.services.enrolling import trial_release
from builds.services.evidence import outcome_of
from builds.services.jobs import JobPage
from builds.services.keys import name_of
from builds.services.submitting import Accepted


class AnswerOut(Schema):
    """``go-on``, or ``cancelled`` when somebody asked for the rebuild to stop."""

    answer: str


class ReleaseNameOut(Schema):
    project: str
    tag: str


class ReleaseNamesOut(Schema):
    releases: list[ReleaseNameOut]
    next: int | None


class EnrolledOut(Schema):
    """``state`` is ``accepted`` or ``pending``; ``trial`` a judged release to show on what the machine can do."""

    operator: str
    rebuilder: str
    key: str
    state: str
    trial: ReleaseNameOut | None


class SubmittedOut(Schema):
    """``outcome`` is what the portal found by comparing; ``not_counted`` says why it is no evidence, "" if it is."""

    statement: str
    rebuild: uuid.UUID
    address: str
    outcome: str | None
    not_counted: str


def enrolled_out(key: RebuilderKey) -> EnrolledOut:
    accepted = key.accepted_at is not None and key.rebuilder.operator.accepted_at is not None
    trial = trial_release()
    return EnrolledOut(
        operator=key.rebuilder.operator.slug,
        rebuilder=key.rebuilder.name,
        key=name_of(key.fingerprint),
        state="accepted" if accepted else "pending",
        trial=ReleaseNameOut(project=trial.project.name, tag=trial.tag) if trial is not None else None,
    )


def release_names_out(page: JobPage) -> ReleaseNamesOut:
    names = [ReleaseNameOut(project=project, tag=tag) for project, tag in page.names]
    return ReleaseNamesOut(releases=names, next=page.after)


def submitted_out(accepted: Accepted) -> SubmittedOut:
    outcome = outcome_of(accepted.rebuild)
    return SubmittedOut(
        statement=f"sha256:{accepted.statement.payload_sha256}",
        rebuild=accepted.rebuild.pk,
        address=accepted.rebuild.get_absolute_url(),
        outcome=outcome.value if outcome is not None else None,
        not_counted=not_counted(accepted.rebuild, accepted.rebuild.release),
    )
