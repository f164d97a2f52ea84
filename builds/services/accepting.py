"""Accepts an opaque input by its digest into a project's policy, for a reason that everybody can read."""

from __future__ import annotations

from typing import ClassVar

from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.models import AcceptedOpaqueInput, Project
from builds.services.release_events import ReasonMissing, evidence_changed


class AcceptedBefore(PortalError):
    """The policy accepts this digest already; the first reason stays."""

    code: ClassVar[str] = "accepted-before"
    default_todo: ClassVar[str] = "Nothing needs to be done."


def accept_opaque(project: Project, sha256: str, reason: str) -> AcceptedOpaqueInput:
    """``sha256`` in hex; raises ``MalformedInput``, ``ReasonMissing`` and ``AcceptedBefore``."""
    digest = Digest.sha256(sha256.removeprefix("sha256:").lower())
    if not reason.strip():
        raise ReasonMissing("an opaque input is accepted for a reason", where=str(digest))
    accepted, is_new = AcceptedOpaqueInput.objects.get_or_create(
        project=project, sha256=digest.hex, defaults={"reason": reason.strip()}
    )
    if not is_new:
        raise AcceptedBefore(f"it was accepted {accepted.accepted_at:%Y-%m-%d}: {accepted.reason}", where=str(digest))
    evidence_changed(*project.releases.only("pk"))
    return accepted
