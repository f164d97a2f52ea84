"""Findings that vouch for a signer, the newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from attestations.models import FindingRecord
from builds.services.absent import FINDING, the_one


@dataclass(frozen=True, slots=True)
class FindingList:
    """``older`` is the number of the last of these when more come after it, else None."""

    findings: tuple[FindingRecord, ...]
    older: int | None


def findings_before(number: int | None, *, size: int, **claims: Any) -> FindingList:
    """Those with exactly these claims that stand after ``number`` in the list; 404 when there is no such finding."""
    found = FindingRecord.objects.filter(**claims).exclude(signer="").order_by("-found_at", "-pk")
    if number is not None:
        last = the_one(FindingRecord.objects.filter(pk=number).only("found_at"), FINDING, str(number))
        found = found.filter(Q(found_at__lt=last.found_at) | Q(found_at=last.found_at, pk__lt=last.pk))
    rows = tuple(found[: size + 1])
    return FindingList(rows[:size], rows[size - 1].pk if len(rows) > size else None)
