"""What an answer about releases is kept by, read by one cheap statement."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet

from builds.kept_statements import kept
from builds.models import Release
from builds.services.absent import RELEASE, NotHere

# Two statements in one: each is answered from the end of an index.
_NEWEST = """\
SELECT (SELECT MAX(evidence_changed_at) FROM builds_release), (SELECT MAX(judged_at) FROM builds_release)"""


def answer_version(project: str, tag: str) -> str:
    """A text that is another one after new evidence of the release, or a new record of its verdict.

    One statement; ``NotHere`` for a release that is not.
    """
    with connection.cursor() as cursor:
        cursor.execute(*kept(_release, project, tag))
        row = cursor.fetchone()
    if row is None:
        raise NotHere(RELEASE, f"{project} {tag}")
    return " ".join(map(str, row))


def newest_state() -> str:
    """A text that is another one after new evidence of any release, or a new record of a verdict. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        return " ".join(map(str, cursor.fetchone()))


def _release(project: str, tag: str) -> QuerySet[Release, Any]:
    wanted = Release.objects.filter(project__name=project, tag=tag).order_by()
    return wanted.values_list("pk", "evidence_changed_at", "judged_at")
