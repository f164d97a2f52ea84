"""Operators with real keys, and what they would sign about a release of the portal's tests."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from pathlib import Path
from typing import Any

from django.utils import timezone

from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.models import Operator, Rebuilder, RebuilderKey, Release
from builds.pipeline.signing import FileSigner, KeyAlgorithm, generate
from builds.services import running
from tests.support.statements import digest_hex, measured, statement_document

MATERIAL = digest_hex("e")
RECIPE_SHA256 = digest_hex("d")
MEASUREMENT = "d" * 96

_SIGNERS: dict[str, FileSigner] = {}


def digests(text: str) -> dict[str, str | int]:
    data = text.encode()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "sha384": hashlib.sha384(data).hexdigest()}


def portal_operator() -> FileSigner:
    """The portal's own worker, enrolled."""
    running.local_rebuilder()
    return running.local_signer()


def new_signer(algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256) -> FileSigner:
    with tempfile.TemporaryDirectory() as directory:
        return generate(Path(directory, "key.pem"), algorithm)


def operator_named(name: str, *, accepted: bool = True, rebuilder: str | None = None) -> FileSigner:
    """An operator with one rebuilder and its key; the same again by the same names."""
    label = rebuilder or f"{name}-1"
    signer = _SIGNERS.setdefault(label, new_signer())
    now = timezone.now()
    known = {"accepted_at": now, "accepted_by": "Ada", "identified_by": "met in person"} if accepted else {}
    operator, _ = Operator.objects.get_or_create(slug=name, defaults={"name": name.title(), **known})
    row, _ = Rebuilder.objects.get_or_create(name=label, operator=operator)
    public = signer.public
    RebuilderKey.objects.get_or_create(
        fingerprint=public.fingerprint,
        defaults={
            "rebuilder": row,
            "algorithm": public.algorithm,
            "pem": public.pem,
            "accepted_at": now if accepted else None,
            "not_before": now,
        },
    )
    return signer


def result_of(
    release: Release,
    builder: str,
    changed: tuple[Role, ...] = (),
    missing: tuple[Role, ...] = (),
    **parts: Any,
) -> dict[str, Any]:
    """What an honest rebuilder says about a release whose components have the bytes of their role's name."""
    made = [role for role in Role if role not in missing]
    katana = digests(Role.KATANA)
    file = {
        "role": "initrd",
        "path": "bin/katana",
        "size": katana["size"],
        "sha256": katana["sha256"],
        "originKind": OriginKind.BUILT.value,
        "origin": "built in this rebuild",
    }
    value = "f" * 96 if Role.INITRD in changed else MEASUREMENT
    defaults: dict[str, Any] = {
        "subjects": [_subject(role, f"changed {role}" if role in changed else role) for role in made],
        "project": release.project.name,
        "tag": release.tag,
        "commit": release.commit,
        "recipe": {"origin": "source-tree", "sha256": release.recipe_sha256 or RECIPE_SHA256},
        "materials": [{"name": "dash 0.5 (amd64)", "digest": {"sha256": MATERIAL}}],
        "invocation": str(uuid.uuid4()),
        "finished": timezone.now(),
        "files": [file],
        "measurements": [measured(value)],
    }
    return statement_document(builder, **{**defaults, **parts})


def _subject(role: Role, content: str) -> dict[str, Any]:
    facts = digests(content)
    kind = OriginKind.PACKAGE if role is Role.KERNEL else OriginKind.BUILT
    origin = "taken as is from package linux" if role is Role.KERNEL else "built in this rebuild"
    return {
        "name": role.value,
        "digest": {"sha256": facts["sha256"], "sha384": facts["sha384"]},
        "annotations": {"size": facts["size"], "originKind": kind.value, "origin": origin},
    }
