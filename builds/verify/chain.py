"""The documents between a checkpoint and a release, fetched from whoever has them and kept for the evidence."""

from __future__ import annotations

from typing import ClassVar

from attestations.domain.mirror import CHECKPOINT_FILE, MAX_CHECKPOINT_BYTES, MAX_OBJECT_BYTES, Ref
from builds.domain.errors import PortalError
from builds.verify.evidence import EvidenceFile, Kind
from builds.verify.web import NotThere, TooLarge, Web


class MirrorWithholds(PortalError):
    """The mirror lacks a file that its own checkpoint names."""

    code: ClassVar[str] = "mirror-withholds"
    default_todo: ClassVar[str] = "Ask again in a minute: it may be half copied. If it stays so, ask another mirror."


class MirrorDamaged(PortalError):
    """A file of the mirror is not the one that its checkpoint names."""

    code: ClassVar[str] = "mirror-damaged"
    default_todo: ClassVar[str] = "Ask another mirror: somebody changed this one's files, or its disk does."


class Chain:
    """Files below a path of one server. Raises the errors above and those of ``Web``, but ``NotThere`` for objects."""

    def __init__(self, web: Web, below: str = "") -> None:
        self._web = web
        self._below = below
        self._kept: dict[str, EvidenceFile] = {}

    @property
    def documents(self) -> tuple[EvidenceFile, ...]:
        """Every document of the index that was asked for, each once."""
        return tuple(self._kept.values())

    def checkpoint(self) -> EvidenceFile:
        """The checkpoint's bytes, which nobody has looked at yet; ``NotThere`` where no mirror lies."""
        path = f"{self._below}/{CHECKPOINT_FILE}"
        return EvidenceFile.of(Kind.CHECKPOINT, path, self._web.get(path, MAX_CHECKPOINT_BYTES))

    def document(self, ref: Ref) -> bytes:
        """A document of the index."""
        known = self._kept.get(ref.sha256)
        if known is not None:
            return known.data
        data = self._object(ref, ref.index_path)
        self._kept[ref.sha256] = EvidenceFile.of(Kind.INDEX, f"{self._below}/{ref.index_path}", data)
        return data

    def blob(self, ref: Ref) -> bytes:
        """A file of the evidence."""
        return self._object(ref, ref.blob_path)

    def _object(self, ref: Ref, path: str) -> bytes:
        where = f"{self._web.address}{self._below}/{path}"
        if ref.size > MAX_OBJECT_BYTES:
            raise TooLarge(f"the file has {ref.size} bytes, more than {MAX_OBJECT_BYTES}", where=where)
        try:
            data = self._web.get(f"{self._below}/{path}", ref.size)
        except NotThere as error:
            raise MirrorWithholds("it lacks what its checkpoint names", where=where) from error
        except TooLarge as error:
            raise MirrorDamaged(f"the file has more than the {ref.size} bytes it should have", where=where) from error
        if Ref.to(data) != ref:
            raise MirrorDamaged(f"the file has {len(data)} bytes, and not those of its name", where=where)
        return data
