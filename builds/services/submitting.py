"""Takes signed statements in: checks everything, stores the bytes as they came, and derives rows from them.

Nothing here believes a status. The signature says who speaks, the release says what must be true of what is
said, and whether it matches is found by comparing digests.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.db.models.functions import Length
from django.utils import timezone

from builds.domain.comparison import RebuildOutcome
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope, MalformedEnvelope, parse_rebuilders_envelope
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.domain.materials import lock_digest
from builds.domain.provenance import RebuildStatement, parse_rebuild_statement
from builds.domain.queue import Priority
from builds.models import Operator, Rebuild, RebuilderKey, RebuildEvent, Release, StoredStatement
from builds.services.consensus import not_counted
from builds.services.evidence import outcome_of
from builds.services.keys import signing_key
from builds.services.queueing import open_after_dispute
from builds.services.rebuilding import Claim, finish
from builds.services.recording import stored_log_sha256
from builds.services.release_events import evidence_changed
from builds.services.result_rows import store_rows

_CLOCKS_APART = timedelta(minutes=5)
MAX_TRIALS = 10
"""Statements kept of an operator that is not accepted: enough to judge it by, too few to fill a disk with."""
MAX_TRIAL_BYTES = 256 * 1024 * 1024
"""Of the statements of all such operators together."""


class StatementRefused(PortalError):
    """A signed statement that is about something else than the release it names. Its code says what."""

    code: ClassVar[str] = "statement-refused"
    default_todo: ClassVar[str] = "Rebuild the release as it is known here, and hand in what comes of that."


class UnknownRelease(StatementRefused):
    """A signed statement that names a release which is not here."""

    code: ClassVar[str] = "unknown-release"


class OtherCommit(StatementRefused):
    """A signed statement that names another commit than the release has here."""

    code: ClassVar[str] = "other-commit"


class OtherEpoch(StatementRefused):
    """A signed statement of a rebuild with another SOURCE_DATE_EPOCH than the release has."""

    code: ClassVar[str] = "other-source-date-epoch"


class OtherRecipe(StatementRefused):
    """A signed statement of a rebuild by another recipe than the release has here."""

    code: ClassVar[str] = "other-recipe"


class OtherComponents(StatementRefused):
    """A signed statement about other components than the release has."""

    code: ClassVar[str] = "other-components"


class InFuture(StatementRefused):
    """A signed statement of a rebuild that ends later than now."""

    code: ClassVar[str] = "finished-in-future"
    default_todo: ClassVar[str] = "Set the machine's clock; the rebuild must be made anew, because its time is signed."


class InvocationReused(StatementRefused):
    """A signed statement whose invocation another statement already has."""

    code: ClassVar[str] = "invocation-reused"
    default_todo: ClassVar[str] = "Each rebuild is a run of its own; do not sign what another run or operator said."


class TrialsFull(StatementRefused):
    """An operator that nobody has accepted yet has handed in as much as is kept of one."""

    code: ClassVar[str] = "trials-full"
    default_todo: ClassVar[str] = "Wait until an administrator has accepted the operator, then hand it in."


class ClaimOfAnother(StatementRefused):
    """A signed statement that is handed in under the claim of another rebuilder or release."""

    code: ClassVar[str] = "claim-of-another"
    default_todo: ClassVar[str] = "Hand it in under your own claim, or without one."


@dataclass(frozen=True, slots=True)
class Accepted:
    """A statement that is kept, and the rebuild it belongs to; ``is_new`` is False when it was here before."""

    statement: StoredStatement
    rebuild: Rebuild
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Offer:
    """A statement whose signature holds, with the bytes it came in."""

    data: bytes
    envelope: Envelope
    statement: RebuildStatement
    key: RebuilderKey
    release: Release


def accept(data: bytes, held: Claim | None = None) -> Accepted:
    """Check and keep a signed statement; the same one again changes nothing.

    ``held`` is the claim it was made under; one that is gone meanwhile does not make the result less true.
    Raises ``MalformedEnvelope``, the errors of ``signing_key``, ``MalformedRebuildStatement``, and a
    ``StatementRefused`` that says what is wrong.
    """
    envelope = parse_rebuilders_envelope(data, where="statement")
    if envelope.payload_type != IN_TOTO_PAYLOAD:
        raise MalformedEnvelope(f"the payload is {envelope.payload_type!r}, no in-toto statement", where="statement")
    key = signing_key(envelope)
    statement = parse_rebuild_statement(envelope.payload, where="statement")
    known = _stored(envelope)
    if known is not None:
        return Accepted(known, known.rebuild, is_new=False)
    offer = _Offer(data, envelope, statement, key, _release(statement))
    _check(statement, offer.release)
    claim = held if held is not None and _is_running(held, key, offer.release) else None
    try:
        with transaction.atomic():
            return _keep(offer, claim)
    except IntegrityError:
        # The same bytes came twice at once, or the invocation is of another statement.
        known = _stored(envelope)
        if known is None:
            what = f"invocation {statement.metadata.invocation_id} is of another statement"
            raise InvocationReused(what, where="statement") from None
        return Accepted(known, known.rebuild, is_new=False)


def _stored(envelope: Envelope) -> StoredStatement | None:
    found = StoredStatement.objects.select_related("rebuild__release__project")
    return found.filter(payload_sha256=_payload_sha256(envelope)).first()


def _payload_sha256(envelope: Envelope) -> str:
    return hashlib.sha256(envelope.payload).hexdigest()


def _release(statement: RebuildStatement) -> Release:
    named = statement.parameters
    found = Release.objects.select_related("project").filter(project__name=named.project, tag=named.tag).first()
    if found is None:
        raise UnknownRelease(f"there is no release {named.project} {named.tag} here", where="statement")
    return found


def _check(statement: RebuildStatement, release: Release) -> None:
    """What must be the release's own; materials are judged apart, because such a result is kept and marked."""
    named, where = statement.parameters, str(release)
    if named.source.commit != release.commit:
        raise OtherCommit(f"it is of commit {named.source.commit}, the release of {release.commit}", where=where)
    epoch = release.commit_time if release.commit_time is not None else release.source_date_epoch
    if named.source_date_epoch != epoch:
        raise OtherEpoch(f"SOURCE_DATE_EPOCH was {named.source_date_epoch}, the commit's is {epoch}", where=where)
    if release.recipe_sha256 and named.recipe.sha256 != release.recipe_sha256:
        raise OtherRecipe(
            f"it was built by recipe sha256:{named.recipe.sha256}, not sha256:{release.recipe_sha256}", where=where
        )
    made = sorted(role.value for role in statement.components)
    if release.recipe_roles and made != sorted(release.recipe_roles):
        raise OtherComponents(
            f"it is about {', '.join(made)}; the recipe makes {', '.join(sorted(release.recipe_roles))}", where=where
        )
    if statement.metadata.finished_on > timezone.now() + _CLOCKS_APART:
        raise InFuture(f"it says that it ended at {statement.metadata.finished_on:%Y-%m-%d %H:%M} UTC", where=where)


def _is_running(held: Claim, key: RebuilderKey, release: Release) -> bool:
    """False for a claim that is gone, which is no reason to refuse a result."""
    rebuild = Rebuild.objects.filter(pk=held.rebuild_id, claim_sha256=held.sha256).first()
    if rebuild is None or rebuild.rebuilder_id != key.rebuilder_id or rebuild.release_id != release.pk:
        raise ClaimOfAnother("the claim is not this rebuilder's, or is for another release", where=str(release))
    return rebuild.run_state is RunState.RUNNING


def _keep(offer: _Offer, held: Claim | None) -> Accepted:
    statement, release = offer.statement, offer.release
    _check_trials(offer.key)
    rebuild = _ended(offer, held)
    log = stored_log_sha256(rebuild)
    rebuild.environment = statement.environment
    # The portal has read the recipe itself: what a signer says of it can only make a result count less.
    rebuild.used_network = release.needs_network or statement.asks_for_network
    rebuild.other_materials = lock_digest(statement.materials) != release.lock_sha256
    # One that was cut here stays incomplete, also when what was signed is the part that is kept.
    if rebuild.log_complete is None and log is not None:
        rebuild.log_complete = log == statement.log_sha256
    rebuild.save(update_fields=["environment", "used_network", "other_materials", "log_complete"])
    stored = StoredStatement(
        rebuild=rebuild,
        key=offer.key,
        content=offer.data,
        payload_sha256=_payload_sha256(offer.envelope),
        invocation_id=uuid.UUID(statement.metadata.invocation_id),
        log_sha256=statement.log_sha256,
        finished_on=statement.metadata.finished_on,
    )
    stored.save()
    store_rows(rebuild, statement)
    evidence_changed(release)
    # What does not count disputes nothing, and costs nobody another rebuild.
    if outcome_of(rebuild) is not RebuildOutcome.REPRODUCED and not not_counted(rebuild, release):
        open_after_dispute(release)
    return Accepted(stored, rebuild, is_new=True)


def _check_trials(key: RebuilderKey) -> None:
    """Return unless a pending operator, or all together, are at a bound; its row is locked: many may come at once."""
    if key.rebuilder.operator.accepted_at is not None:
        return
    operator = Operator.objects.select_for_update().get(pk=key.rebuilder.operator_id)
    pending = StoredStatement.objects.filter(key__rebuilder__operator__accepted_at__isnull=True)
    if pending.filter(key__rebuilder__operator=operator).count() >= MAX_TRIALS:
        raise TrialsFull(f"{MAX_TRIALS} statements of this pending operator are kept already", where=str(operator))
    kept = pending.aggregate(size=Sum(Length("content"), default=0))["size"]
    if kept >= MAX_TRIAL_BYTES:
        raise TrialsFull(f"{MAX_TRIAL_BYTES} bytes of pending operators are kept already", where=str(operator))


def _ended(offer: _Offer, held: Claim | None) -> Rebuild:
    """The claimed rebuild, ended as succeeded; or a row of its own for a statement that comes without a claim."""
    if held is not None and finish(held, RunState.SUCCEEDED):
        return Rebuild.objects.select_related("release__project", "rebuilder__operator").get(pk=held.rebuild_id)
    moment = timezone.now()
    rebuild = Rebuild.objects.create(
        release=offer.release,
        rebuilder=offer.key.rebuilder,
        priority=Priority.USER,
        state=RunState.SUCCEEDED,
        queued_at=moment,
        started_at=offer.statement.metadata.started_on,
        finished_at=moment,
    )
    RebuildEvent(rebuild=rebuild, kind="handed-in", detail={"key": str(offer.key)}).save()
    return rebuild
