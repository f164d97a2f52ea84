"""Which trust roots there are: the vendored one, and those an administrator added. None is fetched by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from attestations.models import TrustRootRecord, TrustRootVersion
from attestations.sigstore_verifier import TrustRoot
from attestations.trust_updates import PUBLIC_GOOD_TUF, fetch_trust_root
from attestations.vendored_roots import PUBLIC_GOOD, public_good, public_good_tuf_root
from builds.domain.errors import PortalError


class UnknownTrustRoot(PortalError):
    """A trust root is asked for by a name that nobody gave to one."""

    code: ClassVar[str] = "unknown-trust-root"
    default_todo: ClassVar[str] = "See `manage.py trust_root list`; add one with `manage.py trust_root add NAME FILE`."


class NoTufRepository(PortalError):
    """A trust root that nobody said where to renew."""

    code: ClassVar[str] = "no-tuf-repository"
    default_todo: ClassVar[str] = "Add it again with --tuf-url and --tuf-root, or add a newer file by hand."


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


def sentences() -> dict[str, str]:
    """For pages: where each root came from and when that was last confirmed."""
    found = {}
    for name, entry in known().items():
        confirmed = f"{entry.refreshed_at:%Y-%m-%d %H:%M} UTC" if entry.refreshed_at is not None else "never"
        failed = f"; the last refresh failed: {entry.problem['what']}" if entry.problem is not None else ""
        found[name] = f"from {entry.origin}; last confirmed by TUF: {confirmed}{failed}"
    return found


def named(names: Iterable[str], roots: Mapping[str, KnownTrustRoot]) -> list[TrustRoot]:
    """Those of ``roots`` that have these names, in their order; ``UnknownTrustRoot`` for a name that has none."""
    missing = [name for name in names if name not in roots]
    if missing:
        raise UnknownTrustRoot(f"there is no trust root named {', '.join(missing)}", where="trust roots")
    return [roots[name].root for name in names]


def add(name: str, content: bytes, origin: str, *, tuf_url: str = "", tuf_root: bytes = b"") -> TrustRoot:
    """Add a trust root, or a new version of it; the same bytes again change nothing."""
    root = TrustRoot.read(name, content)
    with transaction.atomic():
        record, _ = TrustRootRecord.objects.get_or_create(name=name)
        if tuf_url:
            record.tuf_url, record.tuf_root = tuf_url, tuf_root
            record.save(update_fields=["tuf_url", "tuf_root"])
        newest = record.versions.last()
        if newest is None or newest.sha256 != root.ref.sha256:
            TrustRootVersion(root=record, content=content, sha256=root.ref.sha256, origin=origin[:500]).save()
    return root


def refresh(name: str) -> TrustRoot:
    """Ask the root's TUF repository for the current version; what failed is kept beside the old one.

    Raises ``UnknownTrustRoot``, ``NoTufRepository`` and ``TrustRootNotRefreshed``.
    """
    if name not in known():
        raise UnknownTrustRoot(f"there is no trust root named {name}", where="trust roots")
    record = TrustRootRecord.objects.filter(name=name).first()
    url, bootstrap = (record.tuf_url, bytes(record.tuf_root)) if record is not None else ("", b"")
    if not url and name == PUBLIC_GOOD:
        url, bootstrap = PUBLIC_GOOD_TUF, public_good_tuf_root()
    if not url:
        raise NoTufRepository("this trust root is only a file", where=name)
    try:
        content = fetch_trust_root(url, bootstrap, settings.DATA_DIR / "tuf" / name)
        root = add(name, content, f"TUF repository {url}", tuf_url=url, tuf_root=bootstrap)
    except PortalError as error:
        TrustRootRecord.objects.get_or_create(name=name)
        TrustRootRecord.objects.filter(name=name).update(problem=error.as_dict())
        raise
    TrustRootRecord.objects.filter(name=name).update(refreshed_at=timezone.now(), problem=None)
    return root
