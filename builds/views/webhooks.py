"""An account's webhooks: who is told of verdicts, and what became of telling them."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from attestations.models import Webhook
from attestations.services import webhook_pages
from attestations.services import webhooks as service
from builds.domain.errors import PortalError
from builds.models import Project
from builds.services.absent import PROJECT, NotHere
from builds.views.accounts import signed_in
from builds.views.cursors import cursor


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def webhooks(request: HttpRequest) -> HttpResponse:
    """The list; a POST adds one and shows its secret, this once."""
    if request.method != "POST":
        return _list(request)
    url, name = request.POST.get("url", ""), request.POST.get("project", "")
    # A form may hold NUL, which PostgreSQL cannot compare.
    project = Project.objects.filter(name=name).first() if name and "\0" not in name else None
    if name and project is None:
        raise NotHere(PROJECT, name)
    try:
        made, secret = service.add(signed_in(request).pk, url, project)
    except PortalError as error:
        return _list(request, error=error, url=url, chosen=name, status=400)
    return render(request, "attestations/webhook_secret.html", {"webhook": made, "secret": secret, "is_new": True})


@login_required
@never_cache
@require_safe
def webhook(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """One webhook with its deliveries."""
    found = webhook_pages.own_webhook(signed_in(request).pk, webhook_id)
    page = webhook_pages.webhook_page(found, cursor(request))
    return render(request, "attestations/webhook.html", {"page": page})


@login_required
@never_cache
@require_POST
def new_secret(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Make a new secret and show it, this once."""
    found = webhook_pages.own_webhook(signed_in(request).pk, webhook_id)
    context = {"webhook": found, "secret": service.rotate(found), "hours": service.EARLIER_SECRET_HOURS}
    return render(request, "attestations/webhook_secret.html", context)


@login_required
@never_cache
@require_POST
def change(request: HttpRequest, webhook_id: uuid.UUID, what: str) -> HttpResponse:
    """Switch it on or off, or send it a test."""
    found = webhook_pages.own_webhook(signed_in(request).pk, webhook_id)
    done, words = _CHANGES[what]
    return _back(request, found, lambda: done(found), words)


@login_required
@never_cache
@require_POST
def delete(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Delete it with its deliveries."""
    found = webhook_pages.own_webhook(signed_in(request).pk, webhook_id)
    found.delete()
    messages.success(request, "The webhook was deleted, and what it was sent with it.")
    return redirect("webhooks")


@login_required
@never_cache
@require_POST
def send_again(request: HttpRequest, webhook_id: uuid.UUID, number: int) -> HttpResponse:
    """Send one delivery once more."""
    found = webhook_pages.own_webhook(signed_in(request).pk, webhook_id)

    def ask() -> None:
        if service.send_again(found, number) is None:
            raise Http404("this webhook has no such delivery")

    return _back(request, found, ask, "The message is sent again within a few seconds.")


_CHANGES: dict[str, tuple[Callable[[Webhook], object], str]] = {
    "switch-off": (service.switch_off, "Switched off: nothing is sent any more."),
    "switch-on": (service.switch_on, "Switched on: it is told of what changes from now on."),
    "test": (service.send_test, "A test is sent within a few seconds."),
}
CHANGES = tuple(_CHANGES)
"""What ``change`` does, by the last part of its address."""


def _list(
    request: HttpRequest, *, error: PortalError | None = None, url: str = "", chosen: str = "", status: int = 200
) -> HttpResponse:
    """The list with its form; what was refused stands in it again, with the reason."""
    page = webhook_pages.webhooks_page(signed_in(request).pk)
    context = {"page": page, "error": error, "url": url, "chosen": chosen}
    return render(request, "attestations/webhooks.html", context, status=status)


def _back(request: HttpRequest, found: Webhook, ask: Callable[[], object], words: str) -> HttpResponse:
    """Do what is asked, and say on the webhook's page what came of it."""
    try:
        ask()
    except PortalError as error:
        messages.error(request, f"{capfirst(error.what)}. {error.todo}")
    else:
        messages.success(request, words)
    return redirect(found)
