"""What pages and API show of operators, their keys and their signed results; each in a constant number of queries."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django.db.models import BooleanField, Count, ExpressionWrapper, Max, Prefetch, Q, QuerySet
from django.utils import timezone

from builds.domain.comparison import ComponentComparison, RebuildOutcome, overall_outcome
from builds.domain.consensus import standing_of
from builds.domain.dsse import Envelope, parse_envelope
from builds.domain.lifecycle import RunState
from builds.domain.provenance import RebuildStatement, parse_rebuild_statement
from builds.domain.roles import Role
from builds.models import Affiliation, Operator, Rebuild, Rebuilder, RebuilderKey, Release, StoredStatement
from builds.pipeline.signing import read_public_key
from builds.services.absent import OPERATOR, STATEMENT, NotHere, the_one
from builds.services.consensus import copied_components, not_counted
from builds.services.evidence import comparisons_of, outcome_of
from builds.services.queue_page import WaitingPlace, next_places

SHOWN_RESULTS = 50
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """A key, and in a word what it is good for today."""

    key: RebuilderKey
    state: str
    """``accepted``, ``pending``, ``expired`` or ``revoked``."""


@dataclass(frozen=True, slots=True)
class OperatorStanding:
    """An operator and whether its results count; ``why_not`` is "" when they do.

    ``failed`` runs are told and held against nobody: who tries and fails is as welcome as who never tried.
    """

    operator: Operator
    why_not: str
    ties: tuple[Affiliation, ...]
    results: int
    reproduced: int
    contradicting: int
    failed: int
    releases: int
    newest: datetime | None

    @property
    def counts(self) -> bool:
        return not self.why_not

    @property
    def state(self) -> str:
        """``accepted``, ``pending`` or ``rejected``; whether its keys are in force is said by ``why_not``."""
        if self.operator.rejected_at is not None:
            return "rejected"
        return "pending" if self.operator.accepted_at is None else "accepted"

    @property
    def other(self) -> int:
        """Results that are no evidence, whoever signs such: set aside, from other inputs, after a key's revocation."""
        return max(self.results - self.reproduced - self.contradicting, 0)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One signed result; ``why_not`` is "" when it counts."""

    rebuild: Rebuild
    statement: StoredStatement
    outcome: RebuildOutcome | None
    why_not: str


@dataclass(frozen=True, slots=True)
class OperatorPage:
    """``results`` are the newest ones received; ``older`` is the cursor of the next page or None."""

    standing: OperatorStanding
    rebuilders: tuple[tuple[Rebuilder, tuple[KeyStanding, ...]], ...]
    results: tuple[ResultRow, ...]
    older: int | None
    next_places: tuple[WaitingPlace, ...]
    """What its first rebuilder may claim now; empty for an operator that nobody has accepted."""


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A stored statement, read again from its bytes."""

    row: ResultRow
    key: KeyStanding
    envelope: Envelope
    statement: RebuildStatement
    comparisons: tuple[ComponentComparison, ...]
    copied: frozenset[Role]
    """Components whose bytes are an input's."""

    @property
    def bundle(self) -> bytes:
        return self.envelope.as_bundle(read_public_key(self.row.statement.key.pem).hint)


@lru_cache(maxsize=1)
def _counted(_newest_change: datetime | None, _ten_minutes: int) -> dict[int, tuple[int, int]]:
    """Of all operators; every result of every release is compared for it, so it is kept until evidence changes.

    For ten minutes at most: what was committed late may bear an earlier moment than what was seen.
    """
    return Rebuild.objects.counted_by_operator()


def _ten_minutes() -> int:
    return int(time.monotonic() // 600)


def operator_standings() -> list[OperatorStanding]:
    """Every operator: accepted ones first, then by name."""
    counted = _counted_now()
    return [_standing(operator, counted) for operator in _in_order(_operators())]


def operators_after(slug: str | None, size: int) -> tuple[list[OperatorStanding], str | None]:
    """Those that come after ``slug`` in that list, and the last of them when there are more; 404 without such one."""
    found = _operators()
    if slug is not None:
        last = the_one(Operator.objects.filter(slug=slug).only("slug", "accepted_at"), OPERATOR, slug)
        found = found.filter(_after(last))
    rows, counted = list(_in_order(found)[: size + 1]), _counted_now()
    shown = [_standing(operator, counted) for operator in rows[:size]]
    return shown, shown[-1].operator.slug if len(rows) > size else None


def _in_order(found: QuerySet[Operator]) -> QuerySet[Operator]:
    waits = ExpressionWrapper(Q(accepted_at__isnull=True), output_field=BooleanField())
    return found.annotate(waits=waits).order_by("waits", "slug")


def _after(last: Operator) -> Q:
    later = Q(slug__gt=last.slug)
    if last.accepted_at is None:
        return Q(accepted_at__isnull=True) & later
    return Q(accepted_at__isnull=True) | later


def _counted_now() -> dict[int, tuple[int, int]]:
    return _counted(Release.objects.aggregate(newest=Max("evidence_changed_at"))["newest"], _ten_minutes())


def operator_page(slug: str, *, before: int | None = None) -> OperatorPage:
    """One operator with its rebuilders, keys and the results that came before number ``before``; 404 without one."""
    operator = _operators().filter(slug=slug).first()
    if operator is None:
        raise NotHere(OPERATOR, slug)
    counted = Rebuild.objects.filter(rebuilder__operator=operator).counted_by_operator()
    rows = _results(operator, before)
    return OperatorPage(
        standing=_standing(operator, counted),
        rebuilders=tuple(
            (rebuilder, tuple(key_standing(key) for key in rebuilder.keys.all()))
            for rebuilder in operator.rebuilders.all()
        ),
        results=rows[:SHOWN_RESULTS],
        older=rows[SHOWN_RESULTS - 1].statement.pk if len(rows) > SHOWN_RESULTS else None,
        next_places=_next_places(operator),
    )


def _next_places(operator: Operator) -> tuple[WaitingPlace, ...]:
    rebuilder = next(iter(operator.rebuilders.all()), None)
    return next_places(rebuilder) if rebuilder is not None and operator.accepted_at is not None else ()


def statement_page(sha256: str) -> StatementPage:
    """The statement whose payload has this digest; 404 when there is none."""
    found = (
        StoredStatement.objects.select_related("key__rebuilder__operator")
        .select_related("rebuild__release__project", "rebuild__rebuilder__operator", "rebuild__set_aside")
        .prefetch_related("rebuild__components", "rebuild__release__components")
        .prefetch_related("rebuild__release__project__affiliations")
        .filter(payload_sha256=sha256 if _SHA256.fullmatch(sha256) else "")
        .first()
    )
    if found is None:
        raise NotHere(STATEMENT, f"sha256:{sha256}")
    envelope = parse_envelope(bytes(found.content))
    comparisons = tuple(comparisons_of(found.rebuild))
    return StatementPage(
        row=ResultRow(
            found.rebuild, found, overall_outcome(comparisons), not_counted(found.rebuild, found.rebuild.release)
        ),
        key=key_standing(found.key),
        envelope=envelope,
        statement=parse_rebuild_statement(envelope.payload),
        comparisons=comparisons,
        copied=copied_components(found.rebuild),
    )


def key_standing(key: RebuilderKey) -> KeyStanding:
    now = timezone.now()
    if key.revoked_at is not None and key.revoked_at <= now:
        state = "revoked"
    elif key.accepted_at is None:
        state = "pending"
    elif key.not_after is not None and key.not_after <= now:
        state = "expired"
    else:
        state = "accepted"
    return KeyStanding(key, state)


def _operators() -> QuerySet[Operator]:
    signed = Q(rebuilders__rebuilds__statement__isnull=False, rebuilders__rebuilds__state=RunState.SUCCEEDED)
    return Operator.objects.annotate(
        results=Count("rebuilders__rebuilds", filter=signed),
        releases=Count("rebuilders__rebuilds__release", filter=signed, distinct=True),
        newest=Max("rebuilders__rebuilds__finished_at", filter=signed),
        failed=Count("rebuilders__rebuilds", filter=Q(rebuilders__rebuilds__state=RunState.FAILED)),
    ).prefetch_related(
        "rebuilders",
        Prefetch("rebuilders__keys", RebuilderKey.objects.defer("enrolment").select_related("endorsed_by")),
        "decisions",
        Prefetch("affiliations", Affiliation.objects.select_related("project")),
    )


def _standing(operator: Operator, counted: Mapping[int, tuple[int, int]]) -> OperatorStanding:
    reproduced, contradicting = counted.get(operator.pk, (0, 0))
    keys = [key_standing(key).state for rebuilder in operator.rebuilders.all() for key in rebuilder.keys.all()]
    why_not = standing_of(operator.accepted_at is not None, key_accepted=set(keys) != {"pending"}, affiliation="")
    if not why_not and "accepted" not in keys:
        why_not = "No key of it is in force: what it signed while one was stays as it is, and nothing new is taken."
    if operator.rejected_at is not None:
        why_not = "An administrator rejected the operator: its results are shown and do not count."
    return OperatorStanding(
        operator=operator,
        why_not=why_not,
        ties=tuple(operator.affiliations.all()),
        reproduced=reproduced,
        contradicting=contradicting,
        results=operator.results,  # type: ignore[attr-defined]
        failed=operator.failed,  # type: ignore[attr-defined]
        releases=operator.releases,  # type: ignore[attr-defined]
        newest=operator.newest,  # type: ignore[attr-defined]
    )


def _results(operator: Operator, before: int | None) -> tuple[ResultRow, ...]:
    """A page of results and one more, the last received first: statements are numbered as they come."""
    rows = (
        Rebuild.objects.filter(rebuilder__operator=operator, state=RunState.SUCCEEDED, statement__isnull=False)
        .select_related("release__project", "rebuilder__operator", "statement__key", "set_aside")
        .defer("statement__content", "statement__key__enrolment")
        .prefetch_related("components", "release__components", "release__project__affiliations")
        .order_by("-statement__pk")
    )
    if before is not None:
        rows = rows.filter(statement__pk__lt=before)
    return tuple(
        ResultRow(row, row.statement, outcome_of(row), not_counted(row, row.release))
        for row in rows[: SHOWN_RESULTS + 1]
    )
