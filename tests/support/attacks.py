"""What an attack on the portal's evidence must leave as it was, and how attackers ask."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from attestations.services.standing import judged_view
from builds.domain.dsse import IN_TOTO_PAYLOAD, Envelope
from builds.domain.queue import Capability
from builds.domain.requests import CLAIM_PAYLOAD
from builds.models import Rebuild, Release
from builds.pipeline.signing import FileSigner
from builds.services.rebuilding import Claim, new_token, token_sha256
from builds.snapshot import one_snapshot
from tests.support.operators import operator_named, result_of
from tests.support.statements import encoded

AUDIENCE = "testserver"
"""This portal as Django's test client asks for it."""
GIB = 1024**3
MACHINE = Capability(memory_bytes=64 * GIB, disk_bytes=64 * GIB, registry=True)

type Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trace:
    """A release's verdict, how many rows of each kind there are, and how every run stands."""

    verdict: object
    rows: dict[str, int]
    runs: list[tuple[Any, ...]]

    @classmethod
    def of(cls, release: Release) -> Trace:
        with one_snapshot():
            view, _ = judged_view(Release.objects.with_evidence().get(pk=release.pk))
        models = [*apps.get_app_config("builds").get_models(), *apps.get_app_config("attestations").get_models()]
        return cls(
            view.verdict,
            {model.__name__: model._default_manager.count() for model in models},
            list(
                Rebuild.objects.order_by("pk").values_list("pk", "state", "rebuilder", "claim_sha256", "log_complete")
            ),
        )

    @property
    def reproduced(self) -> int:
        return int(self.verdict.tally.reproduced)  # type: ignore[attr-defined]

    @property
    def contradicting(self) -> int:
        return int(self.verdict.tally.contradicting)  # type: ignore[attr-defined]


def signed(release: Release, name: str, *, change: Change | None = None, **parts: Any) -> Envelope:
    """A statement about a release by an accepted operator; ``change`` edits the document before it is signed."""
    signer = operator_named(name)
    return signed_by(signer, release, change=change, **parts)


def signed_by(signer: FileSigner, release: Release, *, change: Change | None = None, **parts: Any) -> Envelope:
    document = result_of(release, signer.public.name, **parts)
    if change is None:
        return signer.sign(IN_TOTO_PAYLOAD, encoded(document))
    change(document)
    return signer.sign(IN_TOTO_PAYLOAD, json.dumps(document).encode())


def hand_in(data: bytes, held: Claim | None = None) -> HttpResponse:
    """POST a statement as an agent does, under a claim or without one."""
    address = "/api/v1/statements" if held is None else f"/api/v1/statements?rebuild={held.rebuild_id}"
    return post(address, data, held)


def post(address: str, data: bytes, held: Claim | None = None) -> HttpResponse:
    headers = {"Authorization": f"Bearer {held.token}"} if held is not None else {}
    return Client(headers=headers).post(address, data, content_type="application/json")  # type: ignore[return-value]


def claim_request(signer: FileSigner, token: str, **changed: Any) -> bytes:
    """A signed claim request in the form that agents send; ``changed`` replaces members by their JSON names."""
    document = {
        "portal": AUDIENCE,
        "key": signer.public.name,
        "issuedAt": timezone.now().isoformat(),
        "tokenSha256": token_sha256(token),
        "capability": json.loads(MACHINE.model_dump_json(by_alias=True)),
        "agent": "tests",
        **{name: value.isoformat() if isinstance(value, datetime) else value for name, value in changed.items()},
    }
    return signer.sign(CLAIM_PAYLOAD, json.dumps(document).encode()).as_bytes()


def claim_of(signer: FileSigner, release: Release) -> Claim:
    """A claim on a rebuild of the release, taken over the API."""
    token = new_token()
    named = {"project": release.project.name, "tag": release.tag}
    answer = post("/api/v1/claims", claim_request(signer, token, release=named))
    assert answer.status_code == 200, answer.content
    return Claim(json.loads(answer.content)["rebuildId"], token)


def refusal(answer: HttpResponse) -> tuple[int, str, str]:
    """Status, the named error's code, and what it says happened."""
    error = json.loads(answer.content)
    return answer.status_code, error["code"], error["what"]


def envelope_with(envelope: Envelope, **changed: Any) -> bytes:
    """The envelope's JSON with members replaced, without signing anew."""
    return json.dumps({**envelope.as_json(), **changed}).encode()


def signature_of(envelope: Envelope) -> dict[str, str]:
    return {"sig": base64.b64encode(envelope.signature).decode()}
