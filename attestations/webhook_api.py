"""API operations on an account's webhooks, by a token of scope ``webhook:manage``."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field, WithJsonSchema

from attestations.domain.webhook_address import MAX_ADDRESS_CHARACTERS
from attestations.models import Webhook
from attestations.services import webhooks as service
from attestations.services.webhook_pages import own_webhook, webhooks_page
from builds.domain.access import Scope
from builds.models import Project
from builds.operation_rules import OperationRules, rules
from builds.services.absent import PROJECT, the_one
from builds.token_auth import IdempotencyKey, ScopedToken, once, token_use

router = Router()
_MAY_MANAGE = ScopedToken(Scope.MANAGE_WEBHOOKS)


class WebhookWish(Schema):
    """Where to tell of verdict changes, and of which project's: all, without one."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[
        str,
        Field(min_length=1, max_length=MAX_ADDRESS_CHARACTERS),
        # For readers of the description: what does not fit is refused by the name of its own error.
        WithJsonSchema({"type": "string", "maxLength": MAX_ADDRESS_CHARACTERS, "pattern": "^https://[!-~]+$"}),
    ]
    project: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")] | None = None


class WebhookOut(Schema):
    """``project`` is null for all projects; ``enabled`` is false while nothing is sent."""

    id: uuid.UUID
    url: str
    project: str | None
    created_at: datetime
    enabled: bool


class NewWebhookOut(WebhookOut):
    """``secret`` signs every delivery and is shown this once; null when the same request is answered again."""

    secret: str | None


class WebhooksOut(Schema):
    """All of the account's webhooks, of which it may have ``most``."""

    webhooks: list[WebhookOut]
    most: int


@router.get("/webhooks", response=WebhooksOut, auth=_MAY_MANAGE)
def webhooks(request: HttpRequest) -> WebhooksOut:
    """The account's webhooks, the oldest first; never their secrets."""
    page = webhooks_page(token_use(request).account.pk)
    return WebhooksOut(webhooks=[_webhook_out(row) for row in page.webhooks], most=page.most)


@router.post("/webhooks", response={201: NewWebhookOut}, auth=_MAY_MANAGE)
@rules(OperationRules(refuses=(404, 409)))
def add_webhook(request: HttpRequest, wish: WebhookWish, idempotency_key: IdempotencyKey = None) -> HttpResponse:
    """Tell an address of verdict changes from now on; the answer has the secret that signs each delivery."""
    project = the_one(Project.objects.filter(name=wish.project), PROJECT, wish.project) if wish.project else None

    def add() -> tuple[int, NewWebhookOut]:
        made, secret = service.add(token_use(request).account.pk, wish.url, project)
        return 201, NewWebhookOut(**_webhook_out(made).model_dump(), secret=secret)

    return once(request, idempotency_key, add, secrets=("secret",))


@router.delete("/webhooks/{uuid:webhook_id}", response={204: None}, auth=_MAY_MANAGE)
def delete_webhook(request: HttpRequest, webhook_id: uuid.UUID) -> Status[None]:
    """Delete a webhook with what it was sent; 404 when the account has none of that id."""
    own_webhook(token_use(request).account.pk, webhook_id).delete()
    return Status(204, None)


def _webhook_out(row: Webhook) -> WebhookOut:
    return WebhookOut(
        id=row.pk,
        url=row.url,
        project=row.project.name if row.project is not None else None,
        created_at=row.created_at,
        enabled=row.disabled_at is None,
    )
