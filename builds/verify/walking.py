"""The way from a checkpoint to what is asked for, whoever brings the documents on it: each is known by its digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

from attestations.domain.mirror import (
    CHECKPOINT_PAYLOAD,
    KEY_DIGITS,
    MAX_CHECKPOINT_BYTES,
    Checkpoint,
    MalformedMirror,
    MeasurementShard,
    Node,
    Ref,
    ReleaseDocument,
    ReleaseEntry,
    ReleaseShard,
    Root,
    Tree,
    parse,
    release_key,
    steps,
)
from builds.domain.dsse import Envelope, MalformedEnvelope, parse_envelope
from builds.domain.requests import ReleaseName
from builds.pipeline.signing import VerifyingKey

CLOCKS_APART: Final = timedelta(minutes=5)
"""How far this machine's clock may be behind the portal's."""

type Fetch = Callable[[Ref], bytes]
"""Gives the document of a digest, hashed; raises a named error for one that cannot be had."""


@dataclass(frozen=True, slots=True)
class Givers:
    """Releases that give a measurement, the newest first; ``more`` says that older ones do too."""

    names: tuple[str, ...]
    more: bool


def signed_checkpoint(data: bytes, key: VerifyingKey, *, where: str) -> tuple[Checkpoint, Envelope]:
    """Read a checkpoint whose signature holds.

    Raises ``MalformedEnvelope``, ``MalformedMirror``, and ``SignatureMismatch`` for another key's.
    """
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise MalformedMirror(f"the checkpoint is larger than {MAX_CHECKPOINT_BYTES} bytes", where=where)
    envelope = checkpoint_envelope(data, where=where)
    if envelope.payload_type != CHECKPOINT_PAYLOAD:
        raise MalformedMirror("what is signed is no checkpoint", where=where)
    key.verify(envelope)
    return parse(Checkpoint, envelope.payload, where=where), envelope


def checkpoint_envelope(data: bytes, *, where: str) -> Envelope:
    """Read what carries a checkpoint; ``MalformedEnvelope`` says what one can do to whom a mirror gave it."""
    try:
        return parse_envelope(data, where=where)
    except MalformedEnvelope as error:
        todo = "Ask another mirror, or the portal: this is no checkpoint, or not all of one."
        raise MalformedEnvelope(error.what, where=error.where, todo=todo) from error


def read_root(checkpoint: Checkpoint, fetch: Fetch) -> Root:
    root = parse(Root, fetch(checkpoint.root), where="root of the mirror")
    if root.portal != checkpoint.portal:
        raise MalformedMirror(f"it is of {root.portal}, not of {checkpoint.portal}", where="root of the mirror")
    return root


def find_release(root: Root, name: ReleaseName, fetch: Fetch) -> ReleaseEntry | None:
    """The release's entry; None when the portal has none of that name."""
    key = release_key(name.project, name.tag)
    shard = _shard(ReleaseShard, root.releases, key, fetch)
    return shard.find(key) if shard is not None else None


def read_release(entry: ReleaseEntry, fetch: Fetch) -> ReleaseDocument:
    document = parse(ReleaseDocument, fetch(entry.document), where="release")
    if (document.project, document.tag) != (entry.project, entry.tag):
        raise MalformedMirror(f"it is of {document.project}/{document.tag}", where=f"{entry.project}/{entry.tag}")
    return document


def find_givers(root: Root, value: str, fetch: Fetch) -> Givers:
    """Releases that give a launch measurement of 96 characters, by its first ones; their own lists have all of it."""
    key = value[:KEY_DIGITS]
    shard = _shard(MeasurementShard, root.measurements, key, fetch)
    if shard is None:
        return Givers((), more=False)
    return Givers(shard.find(key), more=key in shard.more)


def _shard[Shard: (ReleaseShard, MeasurementShard)](
    kind: type[Shard], tree: Tree, key: str, fetch: Fetch
) -> Shard | None:
    """The shard that holds ``key`` if anything does; None when a node names none."""
    where = f"{kind.__name__} {key[:4]}"
    ref, way = tree.top, ("", *steps(tree.digits, key))
    for prefix, below in pairwise(way):
        node = _of_prefix(parse(Node, fetch(ref), where=where), prefix, where)
        child = node.child(below)
        if child is None:
            return None
        ref = child
    return _of_prefix(parse(kind, fetch(ref), where=where), way[-1], where)


def _of_prefix[Kind: (Node, ReleaseShard, MeasurementShard)](document: Kind, prefix: str, where: str) -> Kind:
    """A shard that stood at another's place could deny what it cannot hold."""
    if document.prefix != prefix:
        raise MalformedMirror(f"it holds what begins with {document.prefix!r}, not {prefix!r}", where=where)
    return document
