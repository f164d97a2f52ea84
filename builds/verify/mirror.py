"""Collecting evidence from a mirror: files that anybody may serve, believed for the portal's signature alone.

No request goes to the portal. What a mirror cannot do unnoticed: change a byte, mix two trees, keep back what its
checkpoint names, or go back behind a checkpoint that was seen here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from attestations.domain.mirror import Checkpoint, Ref, Root
from builds.domain.errors import PortalError
from builds.domain.requests import ReleaseName
from builds.pipeline.signing import SignatureMismatch, VerifyingKey
from builds.verify.chain import Chain
from builds.verify.evidence import MAX_FILES, MAX_TOTAL_BYTES, Evidence, EvidenceFile, Kind, evidence_of
from builds.verify.memory import Seen, remember
from builds.verify.walking import (
    CLOCKS_APART,
    Givers,
    find_givers,
    find_release,
    read_release,
    read_root,
    signed_checkpoint,
)
from builds.verify.web import NotThere, PortalUnreachable, TooLarge, Web


class MirrorUnreachable(PortalError):
    """The mirror does not answer, or not with files."""

    code: ClassVar[str] = "mirror-unreachable"
    default_todo: ClassVar[str] = "Check the mirror's address and the network, or ask another mirror or the portal."


class NotThePortals(PortalError):
    """The checkpoint was not signed with the key that was given."""

    code: ClassVar[str] = "mirror-not-the-portals"
    default_todo: ClassVar[str] = (
        "Get the portal's key anew another way: it may have been replaced. The mirror itself is no source for it."
    )


class MirrorStale(PortalError):
    """The mirror's checkpoint may not be relied on any more, or not yet."""

    code: ClassVar[str] = "mirror-stale"
    default_todo: ClassVar[str] = "Ask another mirror or the portal, and look at this machine's clock."


class NotPublishedHere(PortalError):
    """The portal has published no such release, or knows nothing of the measurement: that is no mismatch."""

    code: ClassVar[str] = "not-published-here"
    default_todo: ClassVar[str] = "Look at the name again; a release that was imported just now comes within minutes."


class Mirror:
    """One mirror, held to one checkpoint from the beginning to the end.

    Its constructor asks for the checkpoint. Raises the errors above, what ``remember``, ``Chain`` and ``Web`` raise,
    ``MalformedEnvelope`` and ``MalformedMirror``.
    """

    def __init__(self, address: str, key: VerifyingKey, state: Path, now: datetime) -> None:
        self._web = Web(address, option="--mirror")
        self.address = self._web.address
        self._chain = Chain(self._web)
        try:
            self._file = self._named(self._chain.checkpoint)
            self.checkpoint = self._held_to(key, state, now)
            self._root: Root = read_root(self.checkpoint, self._document)
        except BaseException:
            self._web.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web.close()

    def collect(self, name: ReleaseName, now: datetime, *, measurements: bool = True) -> Evidence:
        """Everything that the portal had about a release, with the way from the checkpoint to it."""
        where = f"{name.project}/{name.tag}"
        entry = find_release(self._root, name, self._document)
        if entry is None:
            raise NotPublishedHere("the portal has published no such release", where=where)
        document = read_release(entry, self._document)
        if measurements and document.measurements is not None:
            self._document(document.measurements)
        files = [self._file, *self._chain.documents]
        # Before anything of it is asked for: what is too large is refused whole.
        total = sum(len(file.data) for file in files) + sum(file.ref.size for file in document.files)
        if total > MAX_TOTAL_BYTES or len(files) + len(document.files) > MAX_FILES:
            raise TooLarge(f"there is more than {MAX_TOTAL_BYTES} bytes or {MAX_FILES} files of evidence", where=where)
        files += [
            EvidenceFile.of(Kind(file.kind), file.address, self._named(self._chain.blob, file.ref), file.operator)
            for file in document.files
        ]
        return evidence_of(self.checkpoint.portal, name, now, files)

    def givers(self, value: str) -> Givers:
        """Releases that give a launch measurement; ``NotPublishedHere`` when the index has none."""
        found = find_givers(self._root, value, self._document)
        if not found.names:
            what = "not among the configurations indexed; this is not a mismatch"
            raise NotPublishedHere(what, where=value)
        return found

    def _held_to(self, key: VerifyingKey, state: Path, now: datetime) -> Checkpoint:
        where = f"{self.address}{self._file.address}"
        try:
            checkpoint, envelope = signed_checkpoint(self._file.data, key, where=where)
        except SignatureMismatch as error:
            raise NotThePortals("the checkpoint was not signed with the key that you gave", where=where) from error
        if checkpoint.has_expired(now):
            raise MirrorStale(f"its checkpoint was to be relied on until {checkpoint.expires_at} only", where=where)
        if checkpoint.issued_at > now + CLOCKS_APART:
            raise MirrorStale(f"its checkpoint is of {checkpoint.issued_at}, which is in the future", where=where)
        payload = hashlib.sha256(envelope.payload).hexdigest()
        remember(state, key.fingerprint, Seen(sequence=checkpoint.sequence, payload=payload))
        return checkpoint

    def _named[**Given, Value](self, get: Callable[Given, Value], *given: Given.args, **more: Given.kwargs) -> Value:
        """What the server said, in the words of a mirror."""
        try:
            return get(*given, **more)
        except NotThere as error:
            raise MirrorUnreachable("there is no checkpoint: no mirror lies there", where=error.where) from error
        except PortalUnreachable as error:
            raise MirrorUnreachable(error.what, where=error.where) from error

    def _document(self, ref: Ref) -> bytes:
        return self._named(self._chain.document, ref)
