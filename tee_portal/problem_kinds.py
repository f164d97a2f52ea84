"""Every kind of error that the API may answer with: its status, and what the page about it says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from attestations.domain.caller_policy import UnusablePolicy
from attestations.domain.change_cursor import UnknownCursor
from attestations.domain.publication_errors import (
    AnnouncementRefused,
    AssetAddressRefused,
    NotAPublisher,
    PublicationsWaiting,
    UploadsBusy,
    UploadTooSlow,
)
from attestations.domain.webhook_errors import TooManyWebhooks, WebhookKnown
from attestations.services.exporting import ExportTooLarge
from attestations.services.history import BeforeImport, UnusableMoment
from attestations.verdict_api import TwoQuestions
from builds.account_api import RebuildNotEnded
from builds.domain.errors import DiskFull, LimitExceeded, MalformedInput, PortalError
from builds.domain.json_depth import NestedTooDeep
from builds.domain.requests import RequestNotForThisPortal, RequestNotFresh
from builds.log_gate import LogReadersWait
from builds.measurement_api import MeasurementNotIndexed
from builds.pipeline.signing import SignatureMismatch
from builds.services.access import NotAuthenticated, ScopeMissing
from builds.services.enrolling import EnrolmentsFull, KeyNotShown, KeyTaken, OperatorTaken
from builds.services.idempotency import KeyReused
from builds.services.jobs import ReleaseNotAskable
from builds.services.keys import KeyExpired, KeyPending, KeyRevoked, UnknownKey
from builds.services.measurement_lookup import TagWithoutProject
from builds.services.operators import OperatorRejected
from builds.services.queueing import RebuildAlreadyLive
from builds.services.rebuilding import ClaimGone, OperatorTied
from builds.services.requesting import NothingToRebuild, NotYours, RebuildEnded, RebuildsExhausted
from builds.services.submitting import ClaimOfAnother, InvocationReused, StatementRefused, TrialsFull, UnknownRelease
from tee_portal.api_answers import MethodNotAllowed
from tee_portal.error_pages import InternalFault, NoSuchThing, Refused
from tee_portal.kept_answers import AnswerTakesLong
from tee_portal.middleware import DatabaseUnreachable
from tee_portal.problems import title_of
from tee_portal.refusals import MalformedQuestion
from tee_portal.request_rules import LengthRequired, MisaskedQuestion, UnsupportedBody
from tee_portal.throttle import TooManyRequests

STATUSES: dict[type[PortalError], int] = {
    NotAuthenticated: 401,
    ScopeMissing: 403,
    NotYours: 403,
    NothingToRebuild: 409,
    RebuildAlreadyLive: 409,
    RebuildEnded: 409,
    RebuildNotEnded: 409,
    WebhookKnown: 409,
    TooManyWebhooks: 409,
    KeyReused: 422,
    AnnouncementRefused: 422,
    AssetAddressRefused: 422,
    NotAPublisher: 403,
    PublicationsWaiting: 429,
    UploadsBusy: 503,
    UploadTooSlow: 408,
    DiskFull: 507,
    RebuildsExhausted: 429,
    ClaimGone: 410,
    ExportTooLarge: 422,
    LimitExceeded: 413,
    LengthRequired: 411,
    UnsupportedBody: 415,
    BeforeImport: 404,
    MeasurementNotIndexed: 404,
    UnusableMoment: 422,
    UnknownCursor: 422,
    UnusablePolicy: 422,
    TwoQuestions: 422,
    TagWithoutProject: 422,
    UnknownRelease: 404,
    UnknownKey: 403,
    SignatureMismatch: 403,
    KeyExpired: 403,
    KeyRevoked: 403,
    KeyPending: 403,
    ClaimOfAnother: 403,
    OperatorTied: 403,
    OperatorRejected: 403,
    ReleaseNotAskable: 409,
    KeyTaken: 409,
    OperatorTaken: 409,
    InvocationReused: 409,
    TrialsFull: 403,
    EnrolmentsFull: 403,
    KeyNotShown: 400,
    RequestNotForThisPortal: 400,
    RequestNotFresh: 400,
    StatementRefused: 400,
    MalformedQuestion: 422,
    MisaskedQuestion: 422,
    NestedTooDeep: 422,
    NoSuchThing: 404,
    Refused: 403,
    MethodNotAllowed: 405,
    TooManyRequests: 429,
    InternalFault: 500,
    DatabaseUnreachable: 503,
    LogReadersWait: 503,
    AnswerTakesLong: 503,
}
_OTHERWISE = 400


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What is known of a code before it is ever given. ``status`` is None for what no request is answered with."""

    code: str
    status: int | None
    means: str
    todo: str

    @property
    def title(self) -> str:
        return title_of(self.code)


def status_of(kind: type[PortalError]) -> int:
    """As the nearest class says that has a status; 400 where none has."""
    return _stated(kind) or _OTHERWISE


def known_problems() -> dict[str, ProblemKind]:
    """By code, in alphabetical order. Codes that only failures of rebuilds carry are among them."""
    found: dict[str, ProblemKind] = {}
    for kind in _below(PortalError):
        # Several classes of one code are one problem; the first of them, which is the most general, speaks.
        if "code" in vars(kind) and kind.code not in found:
            found[kind.code] = ProblemKind(kind.code, _answered(kind), _meaning(kind), kind.default_todo)
    return dict(sorted(found.items()))


def _answered(kind: type[PortalError]) -> int | None:
    return _stated(kind) or (_OTHERWISE if issubclass(kind, MalformedInput) else None)


def _stated(kind: type[PortalError]) -> int | None:
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), None)


def _below(kind: type[PortalError]) -> Iterator[type[PortalError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _below(narrower)


def _meaning(kind: type[PortalError]) -> str:
    """The first paragraph of what the class says of itself."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split()).replace("`", "")
