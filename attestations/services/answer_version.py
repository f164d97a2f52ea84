"""What an answer about releases is kept by, read by one cheap statement."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet

from builds.kept_statements import kept
from builds.models import Release
from builds.services.absent import RELEASE, NotHere

# The largest stamp alone would miss one that another clock gave, or that was committed late. A sum moves with each of
# them; the weights tell two that moved by as much in opposite directions. All are integers, and exact: SQLite, whose
# sums may not pass 2**63, has whole seconds and the rest apart.
_WEIGHT = "(id %% 1009 + 1)"
_SUMS = {
    "sqlite": f"SUM({_WEIGHT} * strftime('%%s', {{0}})), SUM({_WEIGHT} * CAST(substr({{0}}, 21, 6) AS INTEGER))",
    "postgresql": f"SUM({_WEIGHT} * (date_part('epoch', {{0}}) * 1000000)::bigint)",
}
_STAMPS = "SELECT COUNT(*), {sums} FROM builds_release WHERE {stamp} IS NOT NULL"
# By the sign nobody looks for these keys one by one: the rows themselves, with their documents, are not read.
_OF_PROJECT = " AND +id IN (SELECT id FROM builds_release WHERE project_id = %s)"
# Two tables of one row: each is read from the index of its stamp.
_ALL = "SELECT * FROM ({evidence}) AS evidence, ({judged}) AS judged"


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


def releases_state(project_id: int | None = None) -> str:
    """A text that is another one after new evidence of any release, or of one project, or a new record of a verdict.

    Whatever the stamps are: also for one that is not the largest. One statement.
    """
    only = "" if project_id is None else _OF_PROJECT
    statement = _ALL.format(evidence=_stamps("evidence_changed_at") + only, judged=_stamps("judged_at") + only)
    with connection.cursor() as cursor:
        cursor.execute(statement, [] if project_id is None else [project_id] * 2)
        return " ".join(map(str, cursor.fetchone()))


def _stamps(stamp: str) -> str:
    return _STAMPS.format(stamp=stamp, sums=_SUMS[connection.vendor].format(stamp))


def _release(project: str, tag: str) -> QuerySet[Release, Any]:
    wanted = Release.objects.filter(project__name=project, tag=tag).order_by()
    return wanted.values_list("pk", "evidence_changed_at", "judged_at")
