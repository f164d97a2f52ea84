"""Which trust roots there are: the vendored one, and those an administrator added. None is fetched by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from attestations.github_settings import is_loopback
from attestations.models import TrustRootRecord, TrustRootVersion
from attestations.sigstore_verifier import TrustRoot
from attestations.trust_updates import PUBLIC_GOOD_TUF, fetch_trust_root
from attestations.vendored_roots import PUBLIC_GOOD, public_good, public_good_tuf_root
from builds.domain.errors import PortalError


class UnknownTrustRoot(PortalError):
    """A trust root is asked for by a name that nobody gave to one."""

    code: ClassVar[str] = "unknown-trust-root"
    default_todo: ClassVar[str] = "See `manage.py trust_root list`; add one with `manage.py trust_root add NAME FILE`."


class TrustRootTaken(PortalError):
    """The name belongs to a trust root already, with other content."""

    code: ClassVar[str] = "trust-root-taken"
    default_todo: ClassVar[str] = (
        "Choose another name. With --replace every project that names this root is judged by the new one at once."
    )


class UnusableName(PortalError):
    """A trust root's name that would be unreadable in lists and policies."""

    code: ClassVar[str] = "unusable-name"
    default_todo: ClassVar[str] = "Use lower-case letters, digits and dashes, at most 60."


class UnusableTufAddress(PortalError):
    """A TUF repository's address that would be read without encryption, or from this host's files."""

    code: ClassVar[str] = "unusable-tuf-address"
    default_todo: ClassVar[str] = "Give an https address; http is for loopback only."


class NoTufRepository(PortalError):
    """A trust root that nobody said where to renew."""

    code: ClassVar[str] = "no-tuf-repository"
    default_todo: ClassVar[str] = "Add it again with --tuf-url and --tuf-root, or add a newer file by hand."


_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}", re.ASCII)


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
        versions = list(record.versions.all()) if record.removed_at is None else []
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


def sentences(roots: Mapping[str, KnownTrustRoot]) -> dict[str, str]:
    """For pages: where each root came from and when that was last confirmed."""
    found = {}
    for name, entry in roots.items():
        confirmed = f"{entry.refreshed_at:%Y-%m-%d %H:%M} UTC" if entry.refreshed_at is not None else "never"
        failed = f"; the last refresh failed: {entry.problem['what']}" if entry.problem is not None else ""
        local = "; a local demo trust root, which vouches for nothing else" if entry.root.is_local else ""
        found[name] = f"from {entry.origin}; last confirmed by TUF: {confirmed}{failed}{local}"
    return found


def log_names(roots: Mapping[str, KnownTrustRoot]) -> dict[str, str]:
    """For pages: the address of every log that one of ``roots`` names, by its id."""
    return {log_id: address for entry in roots.values() for log_id, address in entry.root.logs.items()}


def named(names: Iterable[str], roots: Mapping[str, KnownTrustRoot]) -> list[TrustRoot]:
    """Those of ``roots`` that have these names, in their order; ``UnknownTrustRoot`` for a name that has none."""
    missing = [name for name in names if name not in roots]
    if missing:
        raise UnknownTrustRoot(f"there is no trust root named {', '.join(missing)}", where="trust roots")
    return [roots[name].root for name in names]


def add(
    name: str, content: bytes, origin: str, *, tuf_url: str = "", tuf_root: bytes = b"", replace: bool = False
) -> TrustRoot:
    """Add a trust root; the same bytes again change nothing.

    Other bytes under a known name raise ``TrustRootTaken`` unless ``replace`` says that they are its new version.
    """
    if not _NAME.fullmatch(name):
        raise UnusableName(f"{name[:100]!r} is no name for a trust root", where="trust roots")
    if tuf_url and not _is_safe_address(tuf_url):
        raise UnusableTufAddress(f"{tuf_url[:200]!r} is no https address", where=name)
    root = TrustRoot.read(name, content)
    before = known().get(name)
    if before is not None and before.root.ref != root.ref and not replace:
        raise TrustRootTaken(
            f"there is a trust root of this name, sha256:{before.root.ref.sha256} from {before.origin};"
            f" this one is sha256:{root.ref.sha256}",
            where=name,
        )
    with transaction.atomic():
        record, _ = TrustRootRecord.objects.get_or_create(name=name)
        newest = record.versions.last()
        if newest is None or newest.sha256 != root.ref.sha256 or record.removed_at is not None:
            TrustRootVersion(root=record, content=content, sha256=root.ref.sha256, origin=origin[:500]).save()
            # Whatever TUF confirmed or refused was about other bytes.
            record.refreshed_at, record.problem = None, None
        record.removed_at = None
        if tuf_url:
            record.tuf_url, record.tuf_root = tuf_url, tuf_root
        record.save(update_fields=["removed_at", "tuf_url", "tuf_root", "refreshed_at", "problem"])
    return root


def _is_safe_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    )


def remove(name: str) -> None:
    """Let a trust root vouch for nobody from now on; of ``public-good`` only the added versions go.

    Raises ``UnknownTrustRoot``.
    """
    gone = TrustRootRecord.objects.filter(name=name, removed_at=None).update(
        removed_at=timezone.now(), tuf_url="", tuf_root=b"", refreshed_at=None, problem=None
    )
    if not gone:
        raise UnknownTrustRoot(f"nobody added a trust root named {name}", where="trust roots")


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
        root = add(name, content, f"TUF repository {url}", tuf_url=url, tuf_root=bootstrap, replace=True)
    except PortalError as error:
        TrustRootRecord.objects.get_or_create(name=name)
        TrustRootRecord.objects.filter(name=name).update(problem=error.as_dict())
        raise
    TrustRootRecord.objects.filter(name=name).update(refreshed_at=timezone.now(), problem=None)
    return root
