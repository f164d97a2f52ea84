"""Which trust roots there are: the vendored one, and those an administrator added. None is fetched by itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import ClassVar

from django.db import transaction
from django.utils import timezone

from attestations.models import TrustRootRecord, TrustRootVersion
from attestations.sigstore_verifier import TrustRoot
from attestations.vendored_roots import PUBLIC_GOOD, public_good
from builds.domain.errors import PortalError


class UnknownTrustRoot(PortalError):
    """A trust root is asked for by a name that nobody gave to one."""

    code: ClassVar[str] = "unknown-trust-root"
    default_todo: ClassVar[str] = "See `manage.py trust_root list`; add one with `manage.py trust_root add NAME FILE`."


@dataclass(frozen=True, slots=True)
class KnownTrustRoot:
    """A trust root with where it came from and when that was last confirmed (UTC; None means never)."""

    root: TrustRoot
    origin: str
    added_at: datetime | None
    refreshed_at: datetime | None
    tuf_url: str
    problem: dict[str, str] | None


@lru_cache(maxsize=64)
def _parsed(name: str, content: bytes) -> TrustRoot:
    return TrustRoot.read(name, content)


def known() -> dict[str, KnownTrustRoot]:
    """Every trust root by name; the newest version of each."""
    found = {
        PUBLIC_GOOD: KnownTrustRoot(
            public_good(), "vendored with this portal, from the PyPI package sigstore", None, None, "", None
        )
    }
    for record in TrustRootRecord.objects.prefetch_related("versions").order_by("name"):
        versions = list(record.versions.all())
        newest = versions[-1] if versions else None
        root = _parsed(record.name, bytes(newest.content)) if newest is not None else None
        if root is None and record.name == PUBLIC_GOOD:
            root = public_good()
        if root is not None:
            found[record.name] = KnownTrustRoot(
                root=root,
                origin=newest.origin if newest is not None else found[PUBLIC_GOOD].origin,
                added_at=newest.added_at if newest is not None else None,
                refreshed_at=record.refreshed_at,
                tuf_url=record.tuf_url,
                problem=record.problem,
            )
    return found


def named(names: Iterable[str]) -> list[TrustRoot]:
    """The roots of these names, in their order; ``UnknownTrustRoot`` for a name that has none."""
    roots = known()
    missing = [name for name in names if name not in roots]
    if missing:
        raise UnknownTrustRoot(f"there is no trust root named {', '.join(missing)}", where="trust roots")
    return [roots[name].root for name in names]


def add(name: str, content: bytes, origin: str, *, tuf_url: str = "") -> TrustRoot:
    """Add a trust root, or a new version of it; the same bytes again change nothing."""
    root = TrustRoot.read(name, content)
    with transaction.atomic():
        record, _ = TrustRootRecord.objects.get_or_create(name=name)
        if tuf_url:
            record.tuf_url = tuf_url
            record.save(update_fields=["tuf_url"])
        newest = record.versions.last()
        if newest is None or newest.sha256 != root.ref.sha256:
            TrustRootVersion(root=record, content=content, sha256=root.ref.sha256, origin=origin[:500]).save()
    return root


def record_refresh(name: str, content: bytes, url: str) -> TrustRoot:
    """Keep what TUF confirmed now."""
    root = add(name, content, f"TUF repository {url}", tuf_url=url)
    TrustRootRecord.objects.filter(name=name).update(refreshed_at=timezone.now(), problem=None)
    return root


def record_failed_refresh(name: str, error: PortalError) -> None:
    """The current version stays, and the page says that it could not be confirmed."""
    TrustRootRecord.objects.filter(name=name).update(problem=error.as_dict())
