"""How the portal's answers to rebuilders are filled from what is stored."""

from __future__ import annotations

from builds.domain.answers import Enrolled, ListedRelease, ListedReleases, Submitted
from builds.domain.digest import sha256_text
from builds.models import RebuilderKey
from builds.services.consensus import not_counted
from builds.services.enrolling import trial_release
from builds.services.evidence import outcome_of
from builds.services.jobs import JobPage
from builds.services.keys import name_of
from builds.services.submitting import Accepted


def enrolled(key: RebuilderKey) -> Enrolled:
    accepted = key.accepted_at is not None and key.rebuilder.operator.accepted_at is not None
    trial = trial_release()
    return Enrolled(
        operator=key.rebuilder.operator.slug,
        rebuilder=key.rebuilder.name,
        key=name_of(key.fingerprint),
        state="accepted" if accepted else "pending",
        trial=ListedRelease(project=trial.project.name, tag=trial.tag) if trial is not None else None,
    )


def listed_releases(page: JobPage) -> ListedReleases:
    names = tuple(ListedRelease(project=project, tag=tag) for project, tag in page.names)
    return ListedReleases(releases=names, next=page.after)


def submitted(accepted: Accepted) -> Submitted:
    outcome = outcome_of(accepted.rebuild)
    return Submitted(
        statement=sha256_text(accepted.statement.payload_sha256),
        rebuild=str(accepted.rebuild.pk),
        address=accepted.rebuild.get_absolute_url(),
        outcome=outcome.value if outcome is not None else None,
        not_counted=not_counted(accepted.rebuild, accepted.rebuild.release),
    )
