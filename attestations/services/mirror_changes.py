"""The change feed in the mirror: pages of recorded verdicts, which never change once they are full."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Literal

from pydantic import ValidationError

from attestations.domain.mirror import ChangeEntry, ChangeFeed, ChangePage, Ref
from attestations.mirror_tree import MirrorTree
from attestations.models import MirroredPart, VerdictRecord
from attestations.services.changes import Change, changes
from builds.domain.frozen import CamelCase

_NAME = "changes"
_FORM = "1"
PAGE = 100
MOST_PAGES = 100
"""That the feed names, besides the last one; who needs older changes asks the portal."""


class _Full(CamelCase):
    """A page that is full: the number of its last record, and the page."""

    last: int
    ref: Ref


class _Pages(CamelCase):
    """All full pages from the first record on."""

    pages: tuple[_Full, ...]


def change_feed(tree: MirrorTree, *, anew: bool) -> Ref:
    """The feed; only records that came since it was last made are read, unless earlier ones were removed."""
    full = [] if anew else _known(tree)
    first = max(0, VerdictRecord.objects.count() // PAGE - MOST_PAGES)
    while len(found := _after(full)) == PAGE:
        data = _page(full, found)
        # What the feed will not name is not put there either.
        ref = tree.put_index(data) if len(full) >= first else Ref.to(data)
        full.append(_Full(last=found[-1].record.pk, ref=ref))
    open_page = tree.put_index(_page(full, found))
    content = _Pages(pages=tuple(full)).model_dump(mode="json", by_alias=True)
    MirroredPart.objects.update_or_create(name=_NAME, defaults={"version": _FORM, "content": content})
    pages = (*(entry.ref for entry in full[first:]), open_page)
    return tree.put_index(ChangeFeed(first=first, pages=pages).encode())


def _after(full: list[_Full]) -> list[Change]:
    after = full[-1].last if full else 0
    records = VerdictRecord.objects.filter(pk__gt=after).select_related("release__project").order_by("pk")
    return changes(records.defer("policy", "envelope", "release__manifest")[:PAGE])


def _page(full: list[_Full], found: list[Change]) -> bytes:
    return ChangePage(number=len(full), changes=tuple(map(_entry, found))).encode()


def _known(tree: MirrorTree) -> list[_Full]:
    """The full pages of last time; none when records were removed since, or a page is missing."""
    known = MirroredPart.objects.filter(name=_NAME, version=_FORM).first()
    if known is None:
        return []
    try:
        pages = list(_Pages.model_validate_json(_as_json(known)).pages)
    except ValidationError:
        return []
    held = VerdictRecord.objects.filter(pk__lte=pages[-1].last).count() if pages else 0
    if held != PAGE * len(pages):
        return []
    named = pages[-MOST_PAGES:]
    return pages if all(tree.keep(entry.ref.index_path, entry.ref.size) for entry in named) else []


def _as_json(known: MirroredPart) -> bytes:
    """JSON has no tuples; the strict shapes read lists as such only from its text."""
    return json.dumps(known.content).encode()


def _entry(change: Change) -> ChangeEntry:
    before = change.before
    return ChangeEntry(
        id=change.uuid,
        project=change.release.project.name,
        tag=change.release.tag,
        at=change.at.astimezone(UTC),
        before=_decision(before.decision) if before is not None else None,
        after=_decision(change.after.decision),
        sentence=change.after.sentence,
        changed=change.lines,
        verdict=change.record.payload_sha256,
    )


def _decision(text: str) -> Literal["allow", "deny"]:
    return "allow" if text == "allow" else "deny"
