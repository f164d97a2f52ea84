"""API operations on launch measurements: which release one is of, and what any configuration gives."""

from __future__ import annotations

from typing import Annotated, ClassVar

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from attestations.services import standing
from builds.domain.configuration_form import UnusableValue
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.search import Kind, recognise
from builds.json_answers import json_answer
from builds.measurement_schemas import (
    LookupOut,
    RecomputedOut,
    RecomputeIn,
    lookup_out,
    not_indexed_out,
    recomputed_out,
)
from builds.models import Release
from builds.operation_rules import OperationRules, rules
from builds.public_address import public_base
from builds.services import measurement_index, selecting
from builds.services.absent import the_release
from builds.services.measurement_lookup import NOT_INDEXED, Expected, expected, look_up
from builds.services.search import near_digests

router = Router()


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

    def __init__(self, value: str, asked: Expected | None, members: dict[str, object]) -> None:
        whose = "" if asked is None else f"{asked.project.name} {asked.tag or ''}".strip() + ": "
        super().__init__(whose + NOT_INDEXED, where=value)
        self.members = members
        """What the problem document has besides."""


@router.post("/measurements/recompute", response=RecomputedOut)
@rules(OperationRules(is_read=True, refuses=(404,)))
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


def _state(_request: HttpRequest, value: str) -> str:
    """What it does not hold is another release that comes to give the value."""
    return measurement_index.state_of(_known(value))


# After its longer sibling, whose name is a value to this one.
@router.get("/measurements/{measurement:value}", response=LookupOut)
@rules(OperationRules(state=_state))
def measurement(
    request: HttpRequest,
    value: str,
    project: Annotated[str | None, Query(max_length=80)] = None,
    tag: Annotated[str | None, Query(max_length=200)] = None,
) -> HttpResponse:
    """Releases and launch configurations that give a measurement, each with its decision.

    ``project`` is the one whose image is expected, ``tag`` one release of it: only theirs is told, and only then can
    the decision at the top be ``allow``. ``0x``, spaces and upper case are accepted. 404 says that it is not among the
    configurations indexed, which is no mismatch, with the nearest known values where no project was named.
    """
    known, base = _known(value), public_base(request)
    asked = expected(project, tag)
    found = look_up(known, asked, publishers_of=standing.publishers_of)
    if not found.givers:
        near = near_digests(known) if asked is None else []
        raise MeasurementNotIndexed(known, asked, not_indexed_out(near, base).model_dump())
    return json_answer(lookup_out(found, base))


def _known(value: str) -> str:
    """96 hex characters; ``MalformedMeasurement`` for what is none."""
    known = recognise(value).value(Kind.SHA384)
    if not known:
        raise MalformedMeasurement("this is no launch measurement", where=value[:100])
    return known
