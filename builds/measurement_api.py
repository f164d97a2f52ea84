"""API operations on launch measurements: which release one is of, and what any configuration gives."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from ninja import Router

from attestations.services import standing
from builds.domain.configuration import UnusableValue
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.search import Kind, recognise
from builds.measurement_schemas import (
    LookupOut,
    RecomputedOut,
    RecomputeIn,
    lookup_out,
    not_indexed_out,
    recomputed_out,
)
from builds.models import Release
from builds.public_address import public_base
from builds.services import measurement_index, selecting
from builds.services.absent import the_release
from builds.services.measurement_lookup import NOT_INDEXED, look_up
from builds.services.search import near_digests

router = Router()

KEPT_SECONDS = 5
"""How long an encoded answer is kept while no evidence of it changes."""


class MalformedMeasurement(MalformedInput):
    """What was asked for is no launch measurement."""

    code: ClassVar[str] = "malformed-measurement"
    default_todo: ClassVar[str] = "Send the 96 hexadecimal characters (48 bytes) of the attestation report."


class MeasurementNotIndexed(PortalError):
    """A launch measurement of which nothing is known here: that denies, and is no mismatch."""

    code: ClassVar[str] = "measurement-not-indexed"
    default_todo: ClassVar[str] = (
        "Compute it for your own command line, vCPUs and CPU type, or ask the machine's operator what was started."
    )

    def __init__(self, value: str, members: dict[str, object]) -> None:
        super().__init__(NOT_INDEXED, where=value)
        self.members = members
        """What the problem document has besides."""


@router.post("/measurements/recompute", response=RecomputedOut)
def recompute(request: HttpRequest, wanted: RecomputeIn) -> RecomputedOut:
    """The measurement of any configuration of a release, its coverage, and the decision about exactly that one.

    Computed from the kept firmware and the digests of the published files: nothing is uploaded. 400 names the field
    that cannot be used.
    """
    release = the_release(Release.objects.with_evidence(), wanted.project, wanted.tag)
    view, _ = standing.judged_view(release)
    selector = selecting.selector_of(view, wanted.form)
    asked = selector.wanted
    if isinstance(asked, UnusableValue):
        raise asked
    page = public_base(request) + selecting.address_of(release, asked)
    return recomputed_out(view, selector, asked, page)


# After its longer sibling, whose name is a value to this one.
@router.get("/measurements/{value}", response=LookupOut)
def measurement(request: HttpRequest, value: str) -> HttpResponse:
    """Releases and launch configurations that give a measurement, each with its decision.

    ``0x``, spaces and upper case are accepted. 404 says that it is not among the configurations indexed, which is no
    mismatch, with the nearest known values.
    """
    known = recognise(value).value(Kind.SHA384)
    if not known:
        raise MalformedMeasurement("this is no launch measurement", where=value[:100])
    base = public_base(request)
    kept = _kept(known, base)
    if kept is None:
        raise MeasurementNotIndexed(known, not_indexed_out(near_digests(known), base).model_dump())
    return HttpResponse(kept, content_type="application/json; charset=utf-8")


def _kept(value: str, base: str) -> bytes | None:
    """The encoded answer, kept while no evidence of the releases in it changes; None when nothing gives the value.

    The state is read before the evidence, so that what changes between the two makes another key. What the state does
    not hold (the clock, a trust root, another release that gives the value) is seen when the seconds are over.
    """
    state = measurement_index.state_of(value)
    store, key = caches["verdicts"], f"measurement:{value}:{hashlib.sha256(f'{state} {base}'.encode()).hexdigest()}"
    kept: bytes | None = store.get(key) if state else None
    if kept is None:
        found = look_up(value, publishers_of=standing.publishers_of)
        if not found.givers:
            return None
        kept = lookup_out(found, base).model_dump_json().encode()
        if state:
            store.set(key, kept, KEPT_SECONDS)
    return kept
