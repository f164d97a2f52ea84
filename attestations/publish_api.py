"""API operations by which a release's publisher announces it, by a token of scope ``release:publish``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import pydantic
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.errors import HttpError, ValidationError

from attestations import tasks
from attestations.domain.publication import PublicationForm
from attestations.domain.publication_errors import UploadsBusy
from attestations.models import Publication
from attestations.patient_body import PatientBody, hang_up
from attestations.publish_schemas import (
    AnnouncedRelease,
    AnnouncementWish,
    PublicationOut,
    publication_out,
    whole_schema,
)
from attestations.services import announcing
from attestations.services.announcing import AnnouncedFile, Announcement
from attestations.services.spool import Spool, expect_space, receiving
from attestations.upload_places import PLACES
from attestations.uploads import Bounds, Fields, take_body, take_upload
from builds.api import router as releases_router
from builds.domain.access import Scope
from builds.domain.json_depth import read_shallow_json
from builds.domain.strict_json import AmbiguousJson
from builds.models import Project
from builds.operation_rules import FILES, OperationRules, rules
from builds.services import idempotency
from builds.services.absent import PUBLICATION, the_one
from builds.token_auth import IdempotencyKey, ScopedToken, once, token_use

router = Router()
_MAY_PUBLISH = ScopedToken(Scope.PUBLISH_RELEASE)
_ACCEPTED, _BAD_REQUEST = 202, 400
_FORM = whole_schema(AnnouncedRelease)
_BODY: Mapping[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": whole_schema(AnnouncementWish)},
        FILES: {
            "schema": {
                **_FORM,
                "description": "The fields first. Each file under any field name, and under its own file name.",
                "required": [*_FORM["required"], "files"],
                "properties": {
                    **_FORM["properties"],
                    # A field of a form has no null.
                    "commit": {"type": "string", "minLength": 40, "maxLength": 40},
                    "files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
                },
            }
        },
    },
}


# At the address of the list of releases: one address is one place in a router.
@releases_router.post(
    "/releases", response={_ACCEPTED: PublicationOut}, auth=_MAY_PUBLISH, openapi_extra={"requestBody": _BODY}
)
@rules(OperationRules(takes_files=True, refuses=(404, 408)))
def publish(request: HttpRequest, idempotency_key: IdempotencyKey = None) -> HttpResponse:
    """Announce a release, by the addresses of its files or with the files themselves.

    202 with the publication that a worker takes up; its address, also in `Location`, tells what became of it.
    403 when the account is no publisher of the project, 429 while too many of its publications wait, 408 when the body
    comes too slowly, 503 while others send as many as are taken at once.
    """
    with receiving() as spool:
        announced = _Announced(request, spool, idempotency_key)
        announcement = announced.taken()

        def announce() -> tuple[int, PublicationOut]:
            made = announcing.announce(spool.id, token_use(request), announcement)
            transaction.on_commit(lambda: tasks.hint_publication(made.pk))
            return _ACCEPTED, publication_out(request, made)

        response = once(request, idempotency_key, announce, body=announced.told_apart_by)
    response["Location"] = json.loads(response.content)["api"]
    return response


@router.get("/publications/{uuid:publication_id}", response=PublicationOut)
def publication(request: HttpRequest, publication_id: uuid.UUID) -> PublicationOut:
    """What became of an announced release: queued, fetching, importing, imported or refused, and why."""
    rows = Publication.objects.select_related("project", "release__project").filter(pk=publication_id)
    return publication_out(request, the_one(rows, PUBLICATION, str(publication_id)))


class _Announced:
    """A request in either form. ``told_apart_by`` is what makes it another one than the next, once it was read."""

    def __init__(self, request: HttpRequest, spool: Spool, key: str | None) -> None:
        self._request = request
        self._spool = spool
        self._account = token_use(request).account
        self._is_again = idempotency.is_answered(self._account, key)
        self.told_apart_by = b""

    def taken(self) -> Announcement:
        """Before a byte of it is read there is a place for it."""
        try:
            with PLACES.place(self._account.pk), PatientBody(self._request).held_to_it() as body:
                return self._read(body)
        except UploadsBusy:
            hang_up(self._request)
            raise

    def _read(self, body: PatientBody) -> Announcement:
        return self._by_files(body) if self._request.content_type == FILES else self._by_addresses(take_body(body))

    def _by_addresses(self, body: bytes) -> Announcement:
        self.told_apart_by = body
        wish = _read(AnnouncementWish, _json(body))
        project = self._permitted(wish)
        at_addresses = [AnnouncedFile(asset.name, asset.url, asset.sha256) for asset in wish.assets]
        sent = [AnnouncedFile(file.name, size=len(file.content)) for file in wish.files]
        announcement = self._announcement(project, wish, PublicationForm.ADDRESSES, (*sent, *at_addresses))
        announcing.check_files(project, announcement.files)
        for file in wish.files:
            self._spool.write(file.name, file.content)
        return announcement

    def _by_files(self, body: PatientBody) -> Announcement:
        bounds = Bounds(*announcing.most_bytes(), first=tuple(_FORM["required"]))
        upload = take_upload(self._request.META, body, self._spool, bounds, self._permit)
        self.told_apart_by = upload.fingerprint
        wish = _read(AnnouncedRelease, upload.fields, "form")
        return self._announcement(self._permitted(wish), wish, PublicationForm.FILES, upload.files)

    def _permit(self, fields: Fields) -> None:
        """Before the first file is kept."""
        project = self._permitted(_read(AnnouncedRelease, fields, "form"))
        if not self._is_again:
            announcing.refuse_waiting(project)
        expect_space(int(self._request.META.get("CONTENT_LENGTH") or 0))

    def _permitted(self, wish: AnnouncedRelease) -> Project:
        return announcing.project_to_publish(self._account, wish.project, wish.tag, wish.commit or "")

    def _announcement(
        self, project: Project, wish: AnnouncedRelease, form: PublicationForm, files: tuple[AnnouncedFile, ...]
    ) -> Announcement:
        return Announcement(project, wish.tag, wish.commit or "", form, files)


def _json(body: bytes) -> object:
    try:
        return read_shallow_json(body)
    except AmbiguousJson as error:
        raise HttpError(_BAD_REQUEST, "no JSON") from error


def _read[Wish: AnnouncedRelease](kind: type[Wish], value: object, place: str = "body") -> Wish:
    """What was asked for, or what is wrong with it as of every operation whose body the framework reads itself."""
    try:
        return kind.model_validate(value)
    except pydantic.ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        raise ValidationError([{**problem, "loc": (place, "wish", *problem["loc"])} for problem in wrong]) from error
