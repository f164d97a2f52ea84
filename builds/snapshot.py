"""Reading evidence as it was at one moment.

A verdict is read by several statements. Each of them sees what is committed when it begins, so that a denying change
after the first and an allowing one before the last would meet in an answer that was never true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

_SERIALIZATION_FAILURE = "40001"
"""PostgreSQL's SQLSTATE for a transaction that is to be begun anew (appendix A)."""
_ATTEMPTS = 30
"""Each that fails is one in which somebody else got through."""


class NoSnapshot(RuntimeError):
    """Evidence was about to be read by statements of which each sees another moment: a mistake of the program."""


@contextmanager
def one_snapshot() -> Iterator[None]:
    """All that is read within is as of the first statement; nothing is to be written. Also a decorator of views.

    Within a transaction that is open already nothing is begun: whoever began that one answers for what it sees.
    """
    connection = transaction.get_connection()
    if connection.in_atomic_block:
        yield
        return
    with _deferred(connection), transaction.atomic():
        _see_one_moment(connection)
        yield


def written_from_one_snapshot[Made](make: Callable[[], Made]) -> Made:
    """What ``make`` gives, which reads at one moment and writes what follows from it, in one transaction.

    It is begun anew when somebody else has changed meanwhile what it is to change. SQLite has one writer at a time.
    """
    connection = transaction.get_connection()
    if connection.in_atomic_block:
        with transaction.atomic():
            return make()
    for _ in range(_ATTEMPTS - 1):
        try:
            return _in_transaction(connection, make)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != _SERIALIZATION_FAILURE:
                raise
    return _in_transaction(connection, make)


def _in_transaction[Made](connection: BaseDatabaseWrapper, make: Callable[[], Made]) -> Made:
    with transaction.atomic():
        _see_one_moment(connection)
        return make()


def _see_one_moment(connection: BaseDatabaseWrapper) -> None:
    """Of a transaction that has read nothing yet. SQLite's do so anyway ("Isolation In SQLite", WAL mode)."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def refuse_without_snapshot() -> None:
    """``NoSnapshot`` outside of a transaction; stands where evidence begins to be read."""
    if not transaction.get_connection().in_atomic_block:
        raise NoSnapshot("evidence is read within one_snapshot(), or a transaction that sees one moment")


@contextmanager
def _deferred(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """SQLite's transactions ask for the one place of a writer when they begin: a reader must not."""
    if connection.vendor != "sqlite":
        yield
        return
    # The mode is known once it is connected.
    connection.ensure_connection()
    usual = connection.transaction_mode  # type: ignore[attr-defined] # of SQLite's wrapper alone
    connection.transaction_mode = "DEFERRED"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.transaction_mode = usual  # type: ignore[attr-defined]
