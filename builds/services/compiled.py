"""Statements that are asked so often that the ORM's words for them are kept.

To find them takes it ten times as long as the database takes to answer.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet


def compiled(wanted: QuerySet[Model, Any], *stand_ins: object) -> str:
    """The SQL of a query whose parameters are ``stand_ins``, in their order; ``LookupError`` when it has others."""
    sql, parameters = wanted.query.sql_with_params()
    if tuple(parameters) != stand_ins:
        raise LookupError("the statement asks for other parameters, or in another order")
    return str(sql)
