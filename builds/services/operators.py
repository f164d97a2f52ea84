"""What administrators decide about operators, keys and results; each with a name and a reason that stay public."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import ClassVar

from django.db import transaction
from django.utils import timezone

from builds.domain.affiliation import tie_found
from builds.domain.errors import PortalError
from builds.domain.requests import ProofKind
from builds.models import (
    Affiliation,
    Operator,
    OperatorDecision,
    Project,
    Rebuild,
    RebuilderKey,
    Release,
    ResultSetAside,
)
from builds.services.release_events import ReasonMissing, evidence_changed

THIS_PORTAL = "this portal"
"""Who states what the portal found by itself; the name of the operator of its own worker too."""
PORTAL_SLUG = "this-portal"
_MOST_NAME, _MOST_REASON = 200, 500


class NoSuchOperator(PortalError):
    """No operator, key or result has this name."""

    code: ClassVar[str] = "no-such-operator"
    default_todo: ClassVar[str] = "List them with: manage.py operators list"


class WordsTooLong(PortalError):
    """A reason or a name is longer than what is kept of one."""

    code: ClassVar[str] = "words-too-long"
    default_todo: ClassVar[str] = "Say it shorter; a page with the whole story can be named."


class AlreadySetAside(PortalError):
    """The result was set aside before; the reason stands."""

    code: ClassVar[str] = "already-set-aside"
    default_todo: ClassVar[str] = "Look at the rebuild's page for who did it, when and why."


class AlreadyAccepted(PortalError):
    """The operator was accepted before, and no key of it waits."""

    code: ClassVar[str] = "already-accepted"
    default_todo: ClassVar[str] = "Who accepted it, and how it was identified, stands on its page."


class OperatorRejected(PortalError):
    """An administrator rejected the operator."""

    code: ClassVar[str] = "operator-rejected"
    default_todo: ClassVar[str] = "The reason stands on the operator's page; ask the portal's administrator."


class NothingTied(PortalError):
    """No tie of the operator to this project's publisher holds."""

    code: ClassVar[str] = "nothing-tied"
    default_todo: ClassVar[str] = "Look at the operator's page for its ties; state one with --what."


class NothingToReject(PortalError):
    """The operator was accepted: its results stay, and what it may sign is decided by its keys."""

    code: ClassVar[str] = "nothing-to-reject"
    default_todo: ClassVar[str] = "Revoke its keys: manage.py operators revoke FINGERPRINT --by YOU --reason WHY"


def find_operator(slug: str) -> Operator:
    found = Operator.objects.filter(slug=slug).first()
    if found is None:
        raise NoSuchOperator(f"there is no operator {slug}", where="operators")
    return found


def accept_operator(operator: Operator, *, by: str, identified_by: str) -> None:
    """Let an operator's results count, with the keys it has: ``identified_by`` says how it is known who it is.

    Of one that was accepted before, only keys that wait are accepted; who accepted it first stays on its page.
    """
    _require(by, identified_by, where=str(operator))
    now = timezone.now()
    with transaction.atomic():
        known = Operator.objects.select_for_update().get(pk=operator.pk)
        if known.rejected_at is not None:
            raise OperatorRejected(f"{known.name} was rejected", where=known.slug)
        waiting = RebuilderKey.objects.filter(rebuilder__operator=operator, accepted_at=None, revoked_at=None)
        if known.accepted_at is not None and not waiting.exists():
            raise AlreadyAccepted(f"{known.name} was accepted by {known.accepted_by}", where=known.slug)
        if known.accepted_at is None:
            known.accepted_at, known.accepted_by, known.identified_by = now, by, identified_by
            known.save()
            _decided(operator, by, "accepted", identified_by)
        else:
            _decided(operator, by, "keys accepted", identified_by)
        waiting.update(accepted_at=now)
        tie_publishers()
        _rejudge(operator)


def reject_operator(operator: Operator, *, by: str, reason: str) -> None:
    """Say no to an operator that waits, for good: it stays listed, and its keys sign nothing more."""
    _require(by, reason, where=str(operator))
    now = timezone.now()
    with transaction.atomic():
        known = Operator.objects.select_for_update().get(pk=operator.pk)
        if known.accepted_at is not None:
            raise NothingToReject(f"{known.name} was accepted by {known.accepted_by}", where=known.slug)
        if known.rejected_at is not None:
            raise OperatorRejected(f"{known.name} was rejected before", where=known.slug)
        known.rejected_at = now
        known.save()
        _decided(operator, by, "rejected", reason)
        said = f"its operator was rejected: {reason.strip()} ({by.strip()})"
        RebuilderKey.objects.filter(rebuilder__operator=operator, revoked_at=None).update(
            revoked_at=now, revocation_reason=said
        )


def _decided(operator: Operator, by: str, what: str, reason: str) -> None:
    OperatorDecision(operator=operator, by=by.strip(), what=what, reason=reason.strip()).save()


def state_affiliation(operator: Operator, project: Project, *, what: str, by: str) -> None:
    """Say that an operator is tied to a project's publisher: its results do not count there from now on.

    An earlier statement of a tie ends with it, and stays listed.
    """
    _require(by, what, where=str(operator))
    with transaction.atomic():
        _end_tie(operator, project, by)
        Affiliation.objects.create(operator=operator, project=project, what=what, stated_by=by)
        _decided(operator, by, f"tied to {project.name}", what)
        _rejudge(operator)


def end_affiliation(operator: Operator, project: Project, *, by: str) -> None:
    """Let an operator count for a project again; that it was tied, and who ended it, stays listed."""
    _require(by, "the tie is ended", where=str(operator))
    with transaction.atomic():
        if not _end_tie(operator, project, by):
            raise NothingTied(f"{operator.name} is not tied to the publisher of {project.name}", where=operator.slug)
        _decided(operator, by, f"not tied to {project.name}", "the tie is ended")
        _rejudge(operator)


def _end_tie(operator: Operator, project: Project, by: str) -> int:
    held = Affiliation.objects.filter(operator=operator, project=project, ended_at__isnull=True)
    return held.update(ended_at=timezone.now(), ended_by=by.strip())


def tie_publishers(published_at: Mapping[int, str] = MappingProxyType({})) -> int:
    """Tie every operator that shows its key where a project's source is published; how many were tied.

    So that no publisher counts for itself because nobody thought of saying so. A tie that was ended stays ended.
    ``published_at`` are further addresses of publishers by their projects' primary keys.
    """
    known = set(Affiliation.objects.values_list("operator", "project"))
    projects = list(Project.objects.only("pk", "name", "source_url"))
    return sum(
        _tie_unless_known(operator, project, what)
        for operator in Operator.objects.exclude(proof_kind="")
        for project in projects
        for address in (project.source_url, published_at.get(project.pk, ""))
        if (operator.pk, project.pk) not in known
        and (what := tie_found(address, ProofKind(operator.proof_kind), operator.proof_location))
    )


def _tie_unless_known(operator: Operator, project: Project, what: str) -> bool:
    with transaction.atomic():
        # Looked at again under the operator's lock: two sweeps may run at once.
        Operator.objects.select_for_update().get(pk=operator.pk)
        if Affiliation.objects.filter(operator=operator, project=project).exists():
            return False
        state_affiliation(operator, project, what=what, by=THIS_PORTAL)
    return True


def revoke_key(fingerprint: str, *, reason: str, by: str, since: datetime | None = None) -> RebuilderKey:
    """Stop a key: what was received from ``since`` (now, when None) on does not count.

    The keys that it vouched for from then on end with it, and those that these vouched for: whoever had it made them.
    Of several revocations the earliest moment and the first reason stand; every one is among the operator's decisions.
    """
    _require(by, reason, where=f"sha256:{fingerprint}")
    key = RebuilderKey.objects.select_related("rebuilder__operator").filter(fingerprint=fingerprint).first()
    if key is None:
        raise NoSuchOperator(f"no key has the fingerprint sha256:{fingerprint[:64]}", where="operators")
    moment = min(filter(None, (since or timezone.now(), key.revoked_at)))
    with transaction.atomic():
        said = key.revocation_reason or f"{reason.strip()} ({by.strip()})"
        RebuilderKey.objects.filter(pk=key.pk).update(revoked_at=moment, revocation_reason=said)
        _revoke_endorsed(key, moment)
        what = f"key sha256:{key.fingerprint} revoked from {moment:%Y-%m-%d %H:%M} UTC"
        _decided(key.rebuilder.operator, by, what, reason)
        _rejudge(key.rebuilder.operator)
    key.refresh_from_db()
    return key


def _revoke_endorsed(key: RebuilderKey, moment: datetime) -> None:
    """End, from their first moment on, the keys that a key vouched for after it was no longer to be believed."""
    for child in RebuilderKey.objects.filter(endorsed_by=key, accepted_at__gte=moment):
        if child.accepted_at is not None and (child.revoked_at is None or child.revoked_at > child.accepted_at):
            child.revoked_at, child.revocation_reason = child.accepted_at, f"vouched for by {key}, revoked before that"
            child.save(update_fields=["revoked_at", "revocation_reason"])
            _revoke_endorsed(child, child.accepted_at)


def set_aside(rebuild: Rebuild, *, reason: str, by: str) -> ResultSetAside:
    """Stop counting one result, for a reason that everybody can read; it stays listed."""
    _require(by, reason, where=f"rebuild {rebuild.pk}")
    with transaction.atomic():
        if ResultSetAside.objects.filter(rebuild=rebuild).exists():
            raise AlreadySetAside("the result was set aside before", where=f"rebuild {rebuild.pk}")
        aside = ResultSetAside(rebuild=rebuild, reason=reason.strip(), by=by.strip())
        aside.save()
        evidence_changed(rebuild.release)
    return aside


def _require(by: str, reason: str, *, where: str) -> None:
    if not by.strip() or not reason.strip():
        raise ReasonMissing("this needs a reason and the name of who decides it", where=where)
    if len(by) > _MOST_NAME or len(reason) > _MOST_REASON:
        raise WordsTooLong(f"a name has at most {_MOST_NAME} characters, a reason {_MOST_REASON}", where=where)


def _rejudge(operator: Operator) -> None:
    """Everything that the operator rebuilt is judged anew for the record."""
    evidence_changed(*Release.objects.filter(rebuilds__rebuilder__operator=operator).distinct().only("pk"))
