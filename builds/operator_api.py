"""API operations about who rebuilds: each says what its page says."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router

from builds.operator_schemas import (
    OperatorDetailOut,
    OperatorListOut,
    QueueOut,
    StatementOut,
    operator_detail_out,
    operator_out,
    queue_out,
    statement_out,
)
from builds.services import operator_pages
from builds.services.queue_page import queue_page

router = Router()


@router.get("/rebuilders", response=OperatorListOut)
def operators(request: HttpRequest) -> OperatorListOut:
    """Every operator, whether its results count, and how many it signed."""
    return OperatorListOut(operators=[operator_out(row) for row in operator_pages.operator_standings()])


@router.get("/rebuilders/{slug}", response=OperatorDetailOut)
def operator(
    request: HttpRequest, slug: str, before: Annotated[int | None, Query(ge=1, lt=2**63)] = None
) -> OperatorDetailOut:
    """One operator: how it was identified, its ties, its rebuilders with their keys, and its newest results.

    ``next`` is the value of ``before`` for older results, or null.
    """
    return operator_detail_out(operator_pages.operator_page(slug, before=before))


@router.get("/queue", response=QueueOut)
def queue(request: HttpRequest) -> QueueOut:
    """What runs, what waits in the order in which it is given out, and what ended last."""
    return queue_out(queue_page())


@router.get("/statements/{sha256}", response=StatementOut)
def statement(request: HttpRequest, sha256: str) -> StatementOut:
    """A signed rebuild by the SHA-256 of its payload, compared with what was published."""
    return statement_out(operator_pages.statement_page(sha256))
