"""A rebuilder whom nobody knows yet: what the files of the documentation's examples hold, made when they are needed."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.requests import CLAIM_PAYLOAD, ENROLMENT_PAYLOAD
from builds.pipeline.signing import FileSigner
from builds.services.rebuilding import token_sha256
from tests.api.conftest import Served
from tests.support.operators import new_signer
from tests.support.statements import encoded, measured, statement_document, subject

SLUG = "newcomer"


@dataclass
class Newcomer:
    """Signs with a key of its own; an administrator accepts it when it first asks for work."""

    served: Served
    signer: FileSigner = field(default_factory=new_signer)
    token: str = ""
    """Of the claim that it asked for last."""
    accepted: bool = False
    tags: list[str] = field(default_factory=lambda: ["v1.0.1", "v1/rc+1"])
    """What it asks to rebuild, one after the other: who failed is not given the same again at once."""

    def enrolment(self) -> bytes:
        """Of a request for the portal as it is asked."""
        request = {
            **self._request(),
            "publicKey": self.signer.public.pem,
            "operator": SLUG,
            "operatorName": "New Comer",
            "contact": "n@example.invalid",
            "affiliation": "",
            "proof": {"kind": "domain", "location": "example.invalid"},
            "rebuilder": "first",
        }
        return json.dumps({"enrolment": self._signed(ENROLMENT_PAYLOAD, request)}).encode()

    def claim(self) -> bytes:
        """A request for one job, which carries the hash of the token that its holder will show."""
        self._be_accepted()
        self.token = secrets.token_urlsafe(32)
        needs = {"engine": "docker", "memoryBytes": 2**40, "diskBytes": 2**40, "network": True, "registry": True}
        request = {
            **self._request(),
            "tokenSha256": token_sha256(self.token),
            "capability": {"recipeFormats": [1], **needs},
            "release": {"project": "enclave", "tag": self.tags.pop(0)},
            "agent": "example 1",
        }
        return json.dumps(self._signed(CLAIM_PAYLOAD, request)).encode()

    def statement(self) -> bytes:
        """About the allowed release, with its own bytes."""
        self._be_accepted()
        release: dict[str, Any] = self.served.get("/jobs/enclave/v1.0.0").json()
        subjects = [
            subject(
                row["role"],
                row["content"]["size"],
                _hex(row["content"]["digest"]),
                _hex(row["content"]["digestSha384"]),
            )
            for row in release["components"]
        ]
        document = statement_document(
            self.signer.public.name,
            subjects=subjects,
            measurements=[measured(self.served.facts["measurement"])],
            files=[self._binary(release)],
            finished=datetime.now(UTC),
        )
        return self.signer.sign(IN_TOTO_PAYLOAD, encoded(document)).as_bytes()

    def _binary(self, release: dict[str, Any]) -> dict[str, Any]:
        """The binary as it lies in the initrd."""
        (katana,) = [row["content"] for row in release["components"] if row["role"] == "katana"]
        built = {"originKind": "built", "origin": "built in this rebuild"}
        return {
            "role": "initrd",
            "path": "bin/katana",
            "size": katana["size"],
            "sha256": _hex(katana["digest"]),
            **built,
        }

    def _request(self) -> dict[str, Any]:
        audience = urlsplit(self.served.portal.address).netloc
        return {"portal": audience, "key": self.signer.public.name, "issuedAt": datetime.now(UTC).isoformat()}

    def _signed(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        return self.signer.sign(kind, json.dumps(request).encode()).as_json()

    def _be_accepted(self) -> None:
        if not self.accepted:
            said = ("--by", "Ada", "--identified-by", "met in person")
            self.served.portal.manage("operators", "accept", SLUG, *said)
            self.accepted = True


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
