"""Publishing the mirror: what deployers read hot, as files that any web server can serve when this portal cannot."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from attestations.domain.mirror import CHECKPOINT_PAYLOAD, Checkpoint, Ref, Root, parse
from attestations.mirror_tree import MirrorTree, mirror_tree
from attestations.models import MirroredPart, MirrorSequence, PortalKey, VerdictRecord
from attestations.services import verdicts
from attestations.services.mirror_changes import change_feed
from attestations.services.mirror_measurements import measurement_tree
from attestations.services.mirror_releases import release_tree
from attestations.services.portal_key import portal_key
from builds.domain.dsse import Envelope, parse_envelope
from builds.domain.errors import PortalError
from builds.pipeline.signing import SignatureMismatch, Signer, VerifyingKey, read_public_key

logger = logging.getLogger(__name__)
_PUBLISHED = "published"
_AFTER_THE_LAST = timedelta(hours=1)
"""How much longer than a checkpoint may be relied on its objects stay."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published: how many objects were written and how many removed that nothing names any more."""

    checkpoint: Checkpoint
    releases: int
    measurements: int
    written: int
    removed: int


def publish(directory: Path, *, anew: bool = False) -> Publication:
    """Bring a directory up to date and sign its checkpoint; ``anew`` makes and writes every file again.

    The checkpoint comes last: whatever keeps this from ending leaves the mirror as it was. Raises what ``mirror_tree``
    does, and the errors of the portal's signer.
    """
    # Before anything is read: the checkpoint vouches for what held at its moment.
    issued = timezone.now().astimezone(UTC).replace(microsecond=0)
    signer = portal_key()
    portal = settings.ENVIRONMENT.public_url or signer.public.name
    with mirror_tree(directory, partial(_is_own, portal, signer.public), rewrite=anew) as tree:
        verdicts.record_due()
        newest = _newest_record()
        root = Root(
            portal=portal,
            releases=release_tree(tree, anew=anew),
            measurements=measurement_tree(tree, anew=anew),
            changes=change_feed(tree, anew=anew),
        )
        checkpoint = _checkpoint(tree, portal, tree.put_index(root.encode()), issued, signer)
        MirroredPart.objects.update_or_create(name=_PUBLISHED, defaults={"version": newest, "content": {}})
        removed = tree.remove_unnamed(timezone.now(), _holds() + _AFTER_THE_LAST)
        entries = (root.releases.entries, root.measurements.entries)
        return Publication(checkpoint, *entries, written=tree.written, removed=removed)


def publish_configured() -> Publication | None:
    """As ``publish``, into ``TEE_PORTAL_MIRROR_DIR``; None where none is set."""
    directory = settings.ENVIRONMENT.mirror_dir
    return publish(directory) if directory is not None else None


def is_behind() -> bool:
    """Whether a mirror is published from here, and verdicts were recorded since; two statements."""
    if settings.ENVIRONMENT.mirror_dir is None:
        return False
    return not MirroredPart.objects.filter(name=_PUBLISHED, version=_newest_record()).exists()


def _newest_record() -> str:
    return str(VerdictRecord.objects.aggregate(newest=Max("pk"))["newest"] or 0)


def _holds() -> timedelta:
    return timedelta(seconds=settings.ENVIRONMENT.mirror_holds_seconds)


def _checkpoint(tree: MirrorTree, portal: str, root: Ref, issued: datetime, signer: Signer) -> Checkpoint:
    checkpoint = Checkpoint(
        portal=portal,
        sequence=_next_number(max(_number_there(tree, signer) + 1, int(issued.timestamp()))),
        issued_at=issued,
        expires_at=issued + _holds(),
        root=root,
    )
    tree.conclude(signer.sign(CHECKPOINT_PAYLOAD, checkpoint.encode()).as_bytes())
    return checkpoint


def _next_number(at_least: int) -> int:
    """A number that no checkpoint had; one that is signed and not published is gone, which harms nobody.

    It is not less than the second of its moment either, so that it does not fall back with a database that was
    restored.
    """
    with transaction.atomic():
        row, _ = MirrorSequence.objects.select_for_update().get_or_create(pk=1, defaults={"number": 0})
        row.number = max(row.number + 1, at_least)
        row.save()
    return row.number


def _is_own(portal: str, key: VerifyingKey, data: bytes) -> bool:
    """Whether a checkpoint is this portal's: of its name, or by a key that it signs or has signed with.

    This keeps an operator's mistake from another portal's files, and is nobody's proof.
    """
    try:
        envelope = parse_envelope(data)
        checkpoint = parse(Checkpoint, envelope.payload)
    except PortalError:
        return False
    if envelope.payload_type != CHECKPOINT_PAYLOAD:
        return False
    earlier = (read_public_key(known.pem, where="portal key") for known in PortalKey.objects.all())
    return checkpoint.portal == portal or any(_signed(by, envelope) for by in chain([key], earlier))


def _signed(key: VerifyingKey, envelope: Envelope) -> bool:
    try:
        key.verify(envelope)
    except SignatureMismatch:
        return False
    return True


def _number_there(tree: MirrorTree, signer: Signer) -> int:
    """The number of the checkpoint that lies there, as far as this portal's key signed it; else 0."""
    try:
        envelope = parse_envelope(tree.checkpoint())
        signer.public.verify(envelope)
        return parse(Checkpoint, envelope.payload).sequence
    except PortalError:
        return 0
