"""What rebuilders ask of a portal, signed with their key: to be enrolled, and to reserve work.

Both name the portal they are meant for and the moment they were made, so that neither can be used elsewhere or
later. A claim carries only the hash of a token that the agent chose: whoever replays it gains nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import StringConstraints, ValidationError, model_validator

from builds.domain.errors import MalformedInput, PortalError
from builds.domain.frozen import CamelCase, KeyName, Sha256Hex, Utc, first_problem
from builds.domain.manifest import Tag
from builds.domain.printable import Line, Name, Slug
from builds.domain.queue import Capability
from builds.domain.strict_json import load_object

CLAIM_PAYLOAD = "application/vnd.tee-portal.claim.v1+json"
ENROLMENT_PAYLOAD = "application/vnd.tee-portal.enrolment.v1+json"
MAX_REQUEST_BYTES = 32 * 1024
FRESH = timedelta(seconds=60)
"""How far a request's moment may lie from the portal's clock, either way."""

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}\.)+(?=[A-Za-z]){_LABEL}(:[0-9]{{1,5}})?")
_REPOSITORY = re.compile(rf"https://({_LABEL}\.)*{_LABEL}(:[0-9]{{1,5}})?(/(?!\.{{1,2}}(/|$))[A-Za-z0-9._~+-]+)+/?")

Pem = Annotated[str, StringConstraints(pattern=r"^[ -~\n]+$", max_length=2000)]
Audience = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.:\[\]-]+$", max_length=255)]
"""A portal by host and port, as they stand in its address."""


class MalformedRequest(MalformedInput):
    """A signed request that is not in the format this portal reads."""

    code: ClassVar[str] = "malformed-request"
    default_todo: ClassVar[str] = "Use a tee-portal-rebuilder of the portal's version."


class RequestNotForThisPortal(PortalError):
    """The request names another portal."""

    code: ClassVar[str] = "request-not-for-this-portal"
    default_todo: ClassVar[str] = "Give the portal's own address as --portal, as its pages show it."


class RequestNotFresh(PortalError):
    """The request was made too long ago, or in the future."""

    code: ClassVar[str] = "request-not-fresh"
    default_todo: ClassVar[str] = "Set the machine's clock, then ask again: a request holds for one minute."


class ProofKind(StrEnum):
    """Where an operator publishes its key's name, to show who it is."""

    DOMAIN = "domain"
    REPOSITORY = "repository"


class Proof(CamelCase):
    """A domain name, or the https address of a repository, that the operator controls."""

    kind: ProofKind
    location: Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=300)]

    @model_validator(mode="after")
    def _is_a_place(self) -> Self:
        # An administrator reads it and asks there: it must be the place that it looks like.
        if self.kind is ProofKind.DOMAIN and _DOMAIN.fullmatch(self.location) is None:
            raise ValueError("the location is no domain name")
        if self.kind is ProofKind.REPOSITORY and _REPOSITORY.fullmatch(self.location) is None:
            raise ValueError("the location is no plain https address of a repository")
        return self


class ReleaseName(CamelCase):
    project: Slug
    tag: Tag


class Request(CamelCase):
    """What every request holds: the portal it is for, the key that signs it, and when it was made."""

    portal: Audience
    key: KeyName
    issued_at: Utc

    def check_meant(self, audience: str, now: datetime) -> None:
        """Return for a request of this minute to this portal; the named errors say what it is otherwise."""
        if self.portal != audience:
            raise RequestNotForThisPortal(f"the request is for {self.portal}, this is {audience}", where="request")
        if abs(now - self.issued_at) > FRESH:
            apart = round(abs(now - self.issued_at).total_seconds())
            raise RequestNotFresh(f"its clock and the portal's are {apart} seconds apart", where="request")


class ClaimRequest(Request):
    """Asks for one job that this machine can do, or for a rebuild of one release."""

    token_sha256: Sha256Hex
    capability: Capability
    release: ReleaseName | None = None
    project: Slug | None = None
    """Only work of this project; None takes any."""
    agent: Line
    """Program, version and machine, as pages show them."""


class Enrolment(Request):
    """Asks that a key be known as one of an operator's rebuilders."""

    public_key: Pem
    operator: Slug
    operator_name: Name
    contact: Line
    affiliation: Line = ""
    """Ties to a publisher, in the operator's own words; empty when it names none."""
    proof: Proof
    rebuilder: Slug
    not_after: Utc | None = None


def parse_request[Kind: Request](kind: type[Kind], payload: bytes) -> Kind:
    """Read a signed request's payload; ``MalformedRequest`` names the first thing that is wrong."""
    load_object(payload, max_bytes=MAX_REQUEST_BYTES, where="request", error_type=MalformedRequest)
    try:
        return kind.model_validate_json(payload, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedRequest(first_problem(error)[:400], where="request") from error
