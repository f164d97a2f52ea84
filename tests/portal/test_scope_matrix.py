"""Every operation of the API with every scope: what a token opens, and that nothing else opens it.

``NEEDS`` says for each operation of the description what it asks for. An operation without a line there fails here
until somebody has decided.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from attestations.models import ProjectPublisher
from builds.domain.access import TOKEN_PREFIX, Scope
from builds.models import ApiToken, Rebuild, RebuildRequest, Release
from tests.support.accounts import account_named, token_of

pytestmark = pytest.mark.django_db

NOTHING: Final = None
"""Anybody may: a token that comes along is not looked at."""
SIGNED: Final = "signed"
"""A rebuilder's own signature, or the token of its claim: no scope of an account stands for either."""

NEEDS: dict[str, Scope | str | None] = {
    "GET /api/v1/attestations": NOTHING,
    "GET /api/v1/attestations/{sha256}": NOTHING,
    "GET /api/v1/changes": NOTHING,
    "POST /api/v1/claims": SIGNED,
    "GET /api/v1/components/{digest}": NOTHING,
    "POST /api/v1/enrolments": SIGNED,
    "GET /api/v1/export/policy": NOTHING,
    "GET /api/v1/jobs": NOTHING,
    "GET /api/v1/jobs/{project}/{tag}": NOTHING,
    "POST /api/v1/measurements/recompute": NOTHING,
    "GET /api/v1/measurements/{value}": NOTHING,
    "GET /api/v1/publications/{publication_id}": NOTHING,
    "GET /api/v1/queue": NOTHING,
    "GET /api/v1/rebuilders": NOTHING,
    "GET /api/v1/rebuilders/{slug}": NOTHING,
    "GET /api/v1/rebuilds": NOTHING,
    "POST /api/v1/rebuilds": Scope.TRIGGER_REBUILD,
    "GET /api/v1/rebuilds/{rebuild_id}": NOTHING,
    "POST /api/v1/rebuilds/{rebuild_id}/cancel": Scope.TRIGGER_REBUILD,
    "POST /api/v1/rebuilds/{rebuild_id}/failure": SIGNED,
    "POST /api/v1/rebuilds/{rebuild_id}/give-back": SIGNED,
    "GET /api/v1/rebuilds/{rebuild_id}/log": NOTHING,
    "POST /api/v1/rebuilds/{rebuild_id}/progress": SIGNED,
    "POST /api/v1/rebuilds/{rebuild_id}/retry": Scope.TRIGGER_REBUILD,
    "GET /api/v1/releases": NOTHING,
    "POST /api/v1/releases": Scope.PUBLISH_RELEASE,
    "GET /api/v1/releases/{project}/{tag}": NOTHING,
    "GET /api/v1/releases/{project}/{tag}/verdict": NOTHING,
    "POST /api/v1/statements": SIGNED,
    "GET /api/v1/statements/{sha256}": NOTHING,
    "GET /api/v1/verdicts/{project}/{tag}": NOTHING,
    "GET /api/v1/webhooks": Scope.MANAGE_WEBHOOKS,
    "POST /api/v1/webhooks": Scope.MANAGE_WEBHOOKS,
    "DELETE /api/v1/webhooks/{webhook_id}": Scope.MANAGE_WEBHOOKS,
}

UNUSABLE = {
    "expired": "token-expired",
    "revoked": "token-revoked",
    "malformed": "token-malformed",
    "unknown": "token-unknown",
    "of a disabled account": "account-disabled",
}
CREDENTIALS = ["nothing", *Scope, *UNUSABLE]


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Method and path of each operation, and what is said of it."""
    document = json.loads((Path(settings.BASE_DIR) / "docs" / "openapi.json").read_bytes())
    for path, item in document["paths"].items():
        for method, told in item.items():
            yield f"{method.upper()} {path}", told


OPERATIONS = dict(described())


def test_somebody_has_decided_for_each_operation_what_it_asks_for() -> None:
    assert NEEDS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_description_says_which_scope_an_operation_asks_for(operation: str) -> None:
    needed = NEEDS[operation]
    expected = [{"ScopedToken": [needed.value]}] if isinstance(needed, Scope) else None
    assert OPERATIONS[operation].get("security") == expected
    refused = {status for status in ("401", "403") if status in OPERATIONS[operation]["responses"]}
    assert refused == {NOTHING: set(), SIGNED: {"403"}}.get(needed, {"401", "403"})


@pytest.fixture
def secret() -> Callable[[str], str | None]:
    """The secret of a token by what it is good for; one with every scope where it is good for nothing any more."""

    def made(credential: str) -> str | None:
        match credential:
            case "nothing":
                return None
            case "malformed":
                return f"{TOKEN_PREFIX}{'a' * 42}"
            case "unknown":
                return f"{TOKEN_PREFIX}{'a' * 43}"
        scopes = list(Scope) if credential in UNUSABLE else [Scope(credential)]
        token = token_of("ada", scopes)
        row, now = ApiToken.objects.filter(pk=token.token.pk), timezone.now()
        if credential == "expired":
            row.update(created_at=now - timedelta(days=7), expires_at=now - timedelta(seconds=1))
        elif credential == "revoked":
            row.update(revoked_at=now)
        elif credential == "of a disabled account":
            token.token.account.is_active = False
            token.token.account.save()
        return token.secret

    return made


@pytest.fixture
def ask(make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]) -> Callable[[str, str | None], Any]:
    """Asks for an operation, about what is there as far as it can be."""
    rebuild = make_rebuild(make_release(), by="alder")
    # Only whoever asked for a rebuild may cancel it, whatever their token may do.
    RebuildRequest(account=account_named("ada"), rebuild=rebuild, joined=False).save()
    # The same of releases: only a publisher of the project may announce one.
    ProjectPublisher.objects.create(project=rebuild.release.project, account=account_named("ada"))
    places = {
        "project": "enclave",
        "tag": "v1.0.0",
        "rebuild_id": str(rebuild.pk),
        "publication_id": str(uuid.UUID(int=0)),
        "webhook_id": str(uuid.UUID(int=0)),
        "sha256": rebuild.statement.payload_sha256,
        "digest": f"sha256:{rebuild.components.all()[0].sha256}",
        "slug": "alder",
        "value": "d" * 96,
    }
    bodies = {
        "/api/v1/rebuilds": {"project": "enclave", "tag": "v1.0.0"},
        "/api/v1/measurements/recompute": {"project": "enclave", "tag": "v1.0.0"},
        "/api/v1/releases": {
            "project": "enclave",
            "tag": "v2",
            "files": [{"name": "manifest.json", "base64": "e30="}],
        },
        "/api/v1/webhooks": {"url": "https://hooks.example/"},
    }

    def asked(operation: str, secret: str | None) -> Any:
        method, path = operation.split()
        # A place that has no value yet gets one that nothing has.
        address = re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], "nothing"), path)
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        body = json.dumps(bodies.get(path, {}))
        answer = Client().generic(method, address, body, content_type="application/json", headers=headers)
        if answer.streaming:
            answer.getvalue()
        return answer

    return asked


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_opens_with_its_scope_and_with_nothing_else(
    operation: str, credential: str, ask: Callable[[str, str | None], Any], secret: Callable[[str], str | None]
) -> None:
    needed = NEEDS[operation]
    shown = secret(credential)
    answer = ask(operation, shown)
    if not isinstance(needed, Scope):
        # Whatever is sent along changes nothing: neither what is allowed, nor what is read.
        plain = ask(operation, None)
        assert answer.status_code == plain.status_code
        assert answer.status_code not in {401, 403} or needed == SIGNED
        return
    told = json.loads(answer.content or b"{}")
    if credential == needed:
        assert answer.status_code not in {401, 403}, told
    elif credential in list(Scope):
        assert (answer.status_code, told["code"]) == (403, "scope-missing")
    else:
        assert (answer.status_code, told["code"]) == (401, UNUSABLE.get(credential, "token-missing"))
        assert answer["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_refused_operation_changes_nothing(
    credential: str, ask: Callable[[str, str | None], Any], secret: Callable[[str], str | None]
) -> None:
    shown, before = secret(credential), Rebuild.objects.count()
    ask("POST /api/v1/rebuilds", shown)
    assert Rebuild.objects.count() - before == (1 if credential == Scope.TRIGGER_REBUILD else 0)
