"""API operations about who rebuilds: each says what its page says."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from builds.operation_rules import OperationRules, rules
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
from builds.paging import lead_on
from builds.services import operator_pages
from builds.services.queue_page import queue_page

router = Router()


@router.get("/rebuilders", response=OperatorListOut)
@rules(OperationRules(refuses=(404,)))
def operators(
    request: HttpRequest,
    response: HttpResponse,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> OperatorListOut:
    """Operators, accepted ones first: their keys, whether their results count, and what these say.

    ``next`` is the value of ``after`` for the next page, or null.
    """
    shown, more = operator_pages.operators_after(after, limit)
    lead_on(request, response, "after", more)
    return OperatorListOut(operators=[operator_out(row) for row in shown], next=more)


@router.get("/rebuilders/{slug}", response=OperatorDetailOut)
def operator(
    request: HttpRequest,
    response: HttpResponse,
    slug: str,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> OperatorDetailOut:
    """One operator: how it was identified, its ties, its rebuilders with their keys, and its newest results.

    ``next`` is the value of ``before`` for older results, or null.
    """
    page = operator_pages.operator_page(slug, before=before)
    lead_on(request, response, "before", page.older)
    return operator_detail_out(page)


@router.get("/queue", response=QueueOut)
def queue(request: HttpRequest) -> QueueOut:
    """What runs, what waits in the order in which it is given out, and what ended last."""
    return queue_out(queue_page())


@router.get("/statements/{hex:sha256}", response=StatementOut)
def statement(request: HttpRequest, sha256: str) -> StatementOut:
    """A signed rebuild by the SHA-256 of its payload, compared with what was published."""
    return statement_out(operator_pages.statement_page(sha256))
