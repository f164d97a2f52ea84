"""A small release, and announcing it as a release workflow does."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from attestations.asset_http import AssetFetcher, Patience
from attestations.models import AssetHost, ProjectPublisher
from attestations.services import publications
from builds.domain.access import Scope
from builds.models import Project, Release
from tests.domain.test_manifest import document
from tests.support.accounts import account_named, token_of
from tests.support.receivers import Behaviour, Receiver, answers, by_path

TAG = "v1.7.0"
KERNEL = b"a kernel"


def manifest(kernel: bytes = KERNEL, **changes: Any) -> bytes:
    """As it was published, with spaces that another writer would not make."""
    named = document(components={"kernel_sha256": hashlib.sha256(kernel).hexdigest()}, **changes)
    return json.dumps(named, indent=3).encode() + b"\n \n"


def files(kernel: bytes = KERNEL) -> dict[str, bytes]:
    return {"manifest.json": manifest(kernel), "vmlinuz": kernel}


def written(directory: Path, published: Mapping[str, bytes]) -> Path:
    directory.mkdir()
    for name, content in published.items():
        (directory / name).write_bytes(content)
    return directory


def publisher_token(project: Project, name: str = "ada") -> str:
    """The secret of an account that may announce releases of the project."""
    ProjectPublisher.objects.get_or_create(project=project, account=account_named(name))
    return token_of(name, [Scope.PUBLISH_RELEASE]).secret


def headers(secret: str | None, key: str | None = None) -> dict[str, str]:
    told = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
    return told | ({"Idempotency-Key": key} if key is not None else {})


def announce(secret: str | None, body: object, key: str | None = None) -> Any:
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    return Client().post("/api/v1/releases", text, content_type="application/json", headers=headers(secret, key))


def send(
    secret: str | None, published: Mapping[str, bytes], key: str | None = None, boundary: str = BOUNDARY, **fields: str
) -> Any:
    """As ``curl -F project=... -F tag=... -F file=@...`` does."""
    told: dict[str, Any] = {"project": "enclave", "tag": TAG, **fields}
    for number, (name, content) in enumerate(published.items()):
        told[f"file{number}"] = named(name, content)
    body = encode_multipart(boundary, {name: value for name, value in told.items() if value is not None})
    kind = MULTIPART_CONTENT.replace(BOUNDARY, boundary)
    return Client().generic("POST", "/api/v1/releases", body, content_type=kind, headers=headers(secret, key))


def named(name: str, content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


def serves(published: Mapping[str, bytes]) -> Behaviour:
    return by_path({f"/{name}": answers(200, content) for name, content in published.items()})


def allow(project: Project, it: Receiver) -> None:
    """Let the project's assets come from a server on loopback, as an administrator of a test portal may."""
    AssetHost.objects.get_or_create(project=project, host="127.0.0.1", port=it.port)
    environment = settings.ENVIRONMENT
    settings.ENVIRONMENT = environment.model_copy(update={"webhook_insecure_hosts": it.host})


def at_addresses(it: Receiver, published: Mapping[str, bytes], **more: Any) -> dict[str, Any]:
    assets = [{"name": name, "url": f"http://{it.host}/{name}"} for name in published]
    return {"project": "enclave", "tag": TAG, "assets": assets, **more}


def work(*, idle: float = 0.5) -> None:
    """What a worker does with everything that is due, by a fetcher without patience."""
    fetcher = AssetFetcher(patience=Patience(idle=idle, grace=0.5, bytes_per_second=1024))
    for publication_id in publications.sweep():
        publications.run(publication_id, fetcher)


def shown(made: Any) -> Any:
    """The publication at the address that an answer names."""
    return Client().get(made["Location"].removeprefix("http://testserver")).json()


def rows(release: Release) -> dict[str, Any]:
    """What an import stored, without numbers of rows and moments."""
    skipped = {"id", "release", "project", "imported_at", "evidence_changed_at", "judged_at", "materials_stored_at",
               "measurements_indexed_at"}  # fmt: skip

    def plain(row: Any) -> dict[str, Any]:
        values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
        return {
            name: bytes(value) if isinstance(value, memoryview) else value
            for name, value in values.items()
            if name.removesuffix("_id") not in skipped
        }

    return {
        "release": plain(release),
        "components": [plain(row) for row in release.components.order_by("role")],
        "files": [plain(row) for row in release.embedded_files.order_by("path")],
        "launch": [plain(row) for row in release.launch_configurations.order_by("name")],
        "events": sorted(
            (event.kind, str(event.detail))
            for event in release.events.all()
            if event.kind not in {"announced", "imported", "materials-failed"}
        ),
    }
