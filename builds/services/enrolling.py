"""Keys come to be known: a signed request, an older key that vouches for it, or an administrator who accepts it.

A private key never comes here. Whoever sends a public key shows by signing that they have the private one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from builds.domain.dsse import Envelope, parse_envelope
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.domain.printable import compared_name
from builds.domain.requests import ENROLMENT_PAYLOAD, MAX_REQUEST_BYTES, Enrolment, MalformedRequest, parse_request
from builds.domain.strict_json import load_object
from builds.models import Operator, Rebuilder, RebuilderKey, Release
from builds.pipeline.signing import VerifyingKey, read_public_key
from builds.services.keys import KeyExpired, UnknownKey, check_period, key_named, require_accepted
from builds.services.operators import PORTAL_SLUG, THIS_PORTAL, OperatorRejected

MAX_PENDING_OPERATORS = 200
_PENDING_FOR = timedelta(days=30)
"""Who waits for longer keeps nobody else from enrolling."""
_MEMBERS = {"enrolment", "endorsement", "endorsedBy"}


class KeyTaken(PortalError):
    """The key is enrolled already, for somebody else."""

    code: ClassVar[str] = "key-taken"
    default_todo: ClassVar[str] = "Make a key of your own: tee-portal-rebuilder keygen FILE"


class OperatorTaken(PortalError):
    """An operator of this name is known, and none of its keys vouches for the new one."""

    code: ClassVar[str] = "operator-taken"
    default_todo: ClassVar[str] = (
        "If it is you, enrol with --endorse OLD-KEY; if that key is lost, ask the portal's administrator."
    )


class EnrolmentsFull(PortalError):
    """As many operators wait for an administrator as are kept at a time."""

    code: ClassVar[str] = "enrolments-full"
    default_todo: ClassVar[str] = "Ask the portal's administrator to look through them, then enrol again."


class KeyNotShown(PortalError):
    """The request is not signed by the key that it brings, or by an older one of the same operator."""

    code: ClassVar[str] = "key-not-shown"
    default_todo: ClassVar[str] = "Send the request as tee-portal-rebuilder enroll writes it."


@dataclass(frozen=True, slots=True)
class _Brought:
    """A request with the key that it brings; the signature by that key holds."""

    envelope: Envelope
    request: Enrolment
    public: VerifyingKey


def enrol(body: bytes, audience: str) -> RebuilderKey:
    """Know a key from a signed request; the same request again changes nothing.

    ``body`` is JSON: ``enrolment``, an envelope signed by the new key, and for a further key of a known operator
    ``endorsement``, an envelope over the same payload by the older key that ``endorsedBy`` names. Without the
    latter the key is pending. Raises the named errors of requests, keys and this module.
    """
    document = load_object(body, max_bytes=4 * MAX_REQUEST_BYTES, where="enrolment", error_type=MalformedRequest)
    if not set(document) <= _MEMBERS or "enrolment" not in document:
        raise MalformedRequest("an enrolment holds enrolment, endorsement and endorsedBy", where="enrolment")
    brought = _brought(json.dumps(document["enrolment"]).encode(), audience)
    known = RebuilderKey.objects.filter(fingerprint=brought.public.fingerprint)
    if (found := known.select_related("rebuilder__operator").first()) is not None:
        return _same(found, brought.request)
    endorser = _endorser(document, brought) if document.get("endorsement") is not None else None
    try:
        with transaction.atomic():
            return _keep(body, brought, endorser)
    except IntegrityError as error:
        # Twice at once: whoever was first is known now.
        if (found := known.select_related("rebuilder__operator").first()) is not None:
            return _same(found, brought.request)
        raise OperatorTaken(f"operator {brought.request.operator} is known", where="enrolment") from error


def trial_release() -> Release | None:
    """A release that operators have rebuilt: what a newcomer rebuilds first, so that everybody can compare."""
    counted = Q(rebuilds__statement__isnull=False, rebuilds__state=RunState.SUCCEEDED)
    found = Release.objects.filter(counted).select_related("project").order_by("-imported_at")
    return found.first()


def _brought(data: bytes, audience: str) -> _Brought:
    envelope = parse_envelope(data, where="enrolment")
    if envelope.payload_type != ENROLMENT_PAYLOAD:
        raise MalformedRequest(f"the payload is {envelope.payload_type[:80]!r}", where="enrolment")
    request = parse_request(Enrolment, envelope.payload)
    public = read_public_key(request.public_key, where="enrolment")
    if public.name != request.key:
        raise KeyNotShown("the key in the request is not the one that it names", where="enrolment")
    public.verify(envelope)
    now = timezone.now()
    request.check_meant(audience, now)
    if request.not_after is not None and request.not_after <= now:
        raise KeyExpired(
            f"the key would end at {request.not_after:%Y-%m-%d %H:%M} UTC, before it begins",
            where="enrolment",
            todo="Give a later end, or none.",
        )
    return _Brought(envelope, request, public)


def _same(found: RebuilderKey, request: Enrolment) -> RebuilderKey:
    if found.rebuilder.operator.slug != request.operator:
        raise KeyTaken("the key is enrolled for another operator", where=str(found))
    if found.rebuilder.operator.rejected_at is not None:
        raise OperatorRejected("the operator was rejected", where=found.rebuilder.operator.slug)
    return found


def _endorser(document: dict[str, object], brought: _Brought) -> RebuilderKey:
    """The accepted key of the same operator that signed the same payload."""
    envelope = parse_envelope(json.dumps(document["endorsement"]).encode(), where="endorsement")
    key = key_named(document.get("endorsedBy"))
    if key is None:
        raise UnknownKey("no enrolled key has the name in endorsedBy", where="endorsement")
    read_public_key(key.pem).verify(envelope)
    require_accepted(key)
    check_period(key, timezone.now())
    if (envelope.payload_type, envelope.payload) != (ENROLMENT_PAYLOAD, brought.envelope.payload):
        raise KeyNotShown("the older key signed something else", where="endorsement")
    if key.rebuilder.operator.slug != brought.request.operator:
        raise KeyNotShown("the older key is another operator's", where="endorsement")
    return key


def _keep(body: bytes, brought: _Brought, endorser: RebuilderKey | None) -> RebuilderKey:
    request, now = brought.request, timezone.now()
    operator = endorser.rebuilder.operator if endorser is not None else _new_operator(request)
    rebuilder, _ = Rebuilder.objects.get_or_create(operator=operator, name=request.rebuilder)
    return RebuilderKey.objects.create(
        rebuilder=rebuilder,
        fingerprint=brought.public.fingerprint,
        algorithm=brought.public.algorithm,
        pem=brought.public.pem,
        enrolment=body,
        endorsed_by=endorser,
        accepted_at=now if endorser is not None else None,
        not_before=now,
        not_after=request.not_after,
    )


def _new_operator(request: Enrolment) -> Operator:
    # Compared as people read them: no query does.
    names = {compared_name(name) for name in Operator.objects.values_list("name", flat=True)} | {THIS_PORTAL}
    slugs = {*Operator.objects.values_list("slug", flat=True), PORTAL_SLUG}
    if request.operator in slugs:
        raise OperatorTaken(f"operator {request.operator} is known", where="enrolment")
    if compared_name(request.operator_name) in names:
        what = f"another operator is called {request.operator_name}, or nearly so"
        raise OperatorTaken(what, where="enrolment", todo="Choose another --name.")
    pending = Operator.objects.filter(accepted_at__isnull=True, rejected_at__isnull=True)
    if pending.filter(created_at__gt=timezone.now() - _PENDING_FOR).count() >= MAX_PENDING_OPERATORS:
        raise EnrolmentsFull(f"{MAX_PENDING_OPERATORS} operators are pending already", where="enrolment")
    return Operator.objects.create(
        slug=request.operator,
        name=request.operator_name,
        contact=request.contact,
        stated_affiliation=request.affiliation,
        proof_kind=request.proof.kind,
        proof_location=request.proof.location,
    )
