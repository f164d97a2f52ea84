"""Reusable queries, each with a bounded number of statements."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Value, When, Window
from django.db.models.functions import Coalesce, Concat, Least, RowNumber

from builds.domain.comparison import Subject
from builds.domain.lifecycle import LIVE_STATES, RunState
from builds.domain.queue import PASSING_FAILURES, Capability, Priority

if TYPE_CHECKING:
    from builds.models import Rebuild, Rebuilder, Release  # noqa: F401 - names the rows of each query set

SHOWN_ATTEMPTS = 25

# What the signed statement and the portal's own records say against counting a result, whoever the operator is.
_FROM_THE_LOCK = (
    Q(state=RunState.SUCCEEDED, other_materials=False)
    & Q(statement__isnull=False, set_aside__isnull=True)
    & (Q(statement__key__revoked_at__isnull=True) | Q(statement__received_at__lt=F("statement__key__revoked_at")))
)
COUNTABLE = Q(used_network=False) & _FROM_THE_LOCK


class ReleaseQuerySet(models.QuerySet["Release"]):
    _evidence = False
    _attempts = False
    _evidence_loaded = False

    def in_order(self) -> ReleaseQuerySet:
        """The newest version first: by the time of the commit that it is built from, however late it was imported."""
        return self.order_by("-source_date_epoch", "-pk")

    def older_than(self, release: Release) -> ReleaseQuerySet:
        """What comes after ``release`` in that order."""
        epoch = release.source_date_epoch
        return self.filter(Q(source_date_epoch__lt=epoch) | Q(source_date_epoch=epoch, pk__lt=release.pk))

    def with_evidence(self, *, attempts: bool = True) -> ReleaseQuerySet:
        """Everything a verdict is derived from, in four statements for however many releases a page shows.

        ``results`` holds the newest of each operator's results of each kind, ``attempts`` the newest runs to show;
        lists that show none leave them out.
        """
        found = self.select_related("project")
        found._evidence, found._attempts = True, attempts  # noqa: SLF001 - its own
        return found

    def _clone(self) -> ReleaseQuerySet:
        clone: ReleaseQuerySet = super()._clone()  # type: ignore[misc]
        clone._evidence, clone._attempts = self._evidence, self._attempts
        return clone

    def _fetch_all(self) -> None:
        from builds.evidence_rows import load_evidence  # noqa: PLC0415 - it reads models, which import this module

        super()._fetch_all()
        if self._evidence and not self._evidence_loaded:
            self._evidence_loaded = True
            load_evidence(self._result_cache or [], attempts=self._attempts)


class RebuildQuerySet(models.QuerySet["Rebuild"]):
    def waiting(self) -> RebuildQuerySet:
        return self.filter(state=RunState.QUEUED, cancel_requested_at__isnull=True)

    def claimable(self, rebuilder: Rebuilder, now: datetime) -> RebuildQuerySet:
        """What a rebuilder may claim, first come first: open places, and those that are wanted from it.

        A place for a new release is for an operator that has not tried it; a release that the rebuilder is
        rebuilding already is no place for it, nor is one of a publisher that its operator is tied to, nor one that
        its operator had a moment ago and came to nothing with.
        """
        from builds.models import Affiliation  # noqa: PLC0415 - models import this module

        own = self.model.objects.filter(release=OuterRef("release"))
        of_operator = own.filter(rebuilder__operator=rebuilder.operator_id)
        pausing = of_operator.filter(~Q(state__in=LIVE_STATES), next_retry__gt=now)
        tried = of_operator.filter(
            Q(state__in=[RunState.RUNNING, RunState.SUCCEEDED])
            | Q(state=RunState.FAILED) & ~Q(failure__code__in=sorted(PASSING_FAILURES))
        )
        running = own.filter(rebuilder=rebuilder, state=RunState.RUNNING)
        tied = Affiliation.objects.filter(
            operator=rebuilder.operator_id, project=OuterRef("release__project"), ended_at__isnull=True
        )
        return (
            self.waiting()
            .filter(Q(wanted_from=rebuilder) | Q(wanted_from__isnull=True) & ~Exists(tied) & ~Exists(pausing))
            .filter(next_retry__lte=now)
            .filter(~Q(priority=Priority.NEW_RELEASE) | ~Exists(tried))
            .filter(~Exists(running))
            .order_by("priority", "turn", "queued_at")
        )

    def fitting(self, machine: Capability) -> RebuildQuerySet:
        """Of these, what a machine can do; as ``builds.domain.queue.Needs.met_by``."""
        found = self.filter(
            release__recipe_format__in=machine.recipe_formats,
            release__needs_memory_bytes__lte=machine.memory_bytes,
            release__needs_disk_bytes__lte=machine.disk_bytes,
        )
        if not machine.network:
            found = found.filter(release__needs_network=False)
        return found if machine.registry else found.filter(release__needs_registry=False)

    def answering(self) -> RebuildQuerySet:
        """Results that a release need not be rebuilt for again: from its lock, by accepted operators without a tie.

        One with the network is among them though it does not count: where the recipe asks for it, nobody's would.
        """
        from builds.models import Affiliation  # noqa: PLC0415 - models import this module

        tie = Affiliation.objects.filter(
            operator=OuterRef("rebuilder__operator"), project=OuterRef("release__project"), ended_at__isnull=True
        )
        return self.filter(
            _FROM_THE_LOCK,
            ~Exists(tie),
            rebuilder__operator__accepted_at__isnull=False,
            statement__key__accepted_at__isnull=False,
        ).order_by()

    def open_to_anybody(self) -> RebuildQuerySet:
        return self.waiting().filter(wanted_from__isnull=True).order_by()

    def awaited(self, now: datetime, most: timedelta) -> RebuildQuerySet:
        """Runs, and places wanted from one, by which an operator may still add a vote; the operator is ``who``.

        Only accepted operators without a tie add one. Each is awaited for ``most`` from when it first began, so that
        nobody keeps a release from others by beginning again and again.
        """
        from builds.models import Affiliation, Operator  # noqa: PLC0415 - models import this module

        tie = Affiliation.objects.filter(
            operator=OuterRef("who"), project=OuterRef("release__project"), ended_at__isnull=True
        )
        in_vain = self.model.objects.filter(
            ~Q(state__in=[*LIVE_STATES, RunState.SUCCEEDED]),
            release=OuterRef("release"),
            rebuilder__operator=OuterRef("who"),
            started_at__lt=now - most,
        )
        return (
            self.filter(Q(state=RunState.RUNNING) | Q(state=RunState.QUEUED, queued_at__gte=now - most))
            .annotate(who=Coalesce("rebuilder__operator", "wanted_from__operator"))
            .filter(Exists(Operator.objects.filter(pk=OuterRef("who"), accepted_at__isnull=False)))
            .filter(~Exists(tie), ~Exists(in_vain))
            .order_by()
        )

    def operators(self) -> set[int]:
        """Of ``awaited`` ones: whose they are, by primary key."""
        return {row.who for row in self}  # type: ignore[attr-defined] # the annotation

    def of_the_unheard(self) -> RebuildQuerySet:
        """Of ``awaited`` ones, those of operators that have not answered for the release yet."""
        answers = self.model.objects.answering()
        return self.filter(~Exists(answers.filter(release=OuterRef("release"), rebuilder__operator=OuterRef("who"))))

    def counted_by_operator(self) -> dict[int, tuple[int, int]]:
        """For each operator, by primary key: how many results that may count reproduced, and how many contradict.

        One of a release without components is neither.
        """
        rows = (
            self.filter(COUNTABLE)
            .order_by()
            .compared()
            .values("rebuilder__operator")
            .annotate(
                same=Count("pk", filter=Q(compared=True, differs=False)),
                other=Count("pk", filter=Q(compared=True, differs=True)),
            )
        )
        return {
            operator: (same, other)
            for operator, same, other in rows.values_list("rebuilder__operator", "same", "other")
        }

    def disputing(self) -> RebuildQuerySet:
        """Counted results that differ from what was published, and after which no other operator was heard first.

        Only of operators that have not answered otherwise since.
        """
        answers = self.model.objects.answering().filter(release=OuterRef("release"))
        own = answers.filter(rebuilder__operator=OuterRef("rebuilder__operator"))
        later = own.filter(finished_at__gt=OuterRef("finished_at"))
        earlier = own.filter(finished_at__lte=OuterRef(OuterRef("finished_at")))
        heard_since = answers.filter(~Exists(earlier), finished_at__gt=OuterRef("finished_at"))
        return (
            self.answering()
            .filter(COUNTABLE)
            .compared()
            .filter(Q(compared=True, differs=True), ~Exists(later), ~Exists(heard_since))
        )

    def compared(self) -> RebuildQuerySet:
        """With whether there is anything to compare with, and whether it ``differs``.

        As ``builds.domain.comparison.compare``.
        """
        from builds.models import Component, RebuiltComponent  # noqa: PLC0415 - models import this module

        published = Component.objects.filter(release=OuterRef("release"))
        says_content = Q(claim_subject=Subject.CONTENT) & ~Q(claimed_digest="")
        same_file = Q(size=OuterRef("size"), sha256=OuterRef("sha256"), sha384=OuterRef("sha384"))
        as_claimed = Q(sha256_name=OuterRef("claimed_digest")) | Q(sha384_name=OuterRef("claimed_digest"))
        made = RebuiltComponent.objects.filter(rebuild=OuterRef(OuterRef("pk")), role=OuterRef("role")).annotate(
            sha256_name=Concat(Value("sha256:"), "sha256"), sha384_name=Concat(Value("sha384:"), "sha384")
        )
        agreed = (
            (Q(size__isnull=True) | Exists(made.filter(same_file)))
            & (~says_content | Exists(made.filter(as_claimed)))
            & (Q(size__isnull=False) | says_content)
        )
        return self.annotate(compared=Exists(published), differs=Exists(published.exclude(agreed)))

    def lapsed(self, now: datetime) -> RebuildQuerySet:
        """Running, but the worker has not renewed its lease."""
        return self.filter(state=RunState.RUNNING, lease_expires_at__lt=now)

    def attempts(self) -> RebuildQuerySet:
        """Runs that somebody has, had or is to have; a place that is open to anybody is none."""
        return self.filter(Q(rebuilder__isnull=False) | Q(wanted_from__isnull=False))

    def newest_per_operator(self) -> RebuildQuerySet:
        """For each release and operator: the newest result that may count, the newest that may not, and the
        newest failure.

        Results are ordered by when the rebuild ended as signed, so that an old one handed in late stays old.
        """
        kind = Case(
            When(COUNTABLE, then=Value(2)),
            When(state=RunState.SUCCEEDED, then=Value(1)),
            default=Value(0),
            output_field=models.PositiveSmallIntegerField(),
        )
        # A clock that is ahead must not make a result newer than what its operator signs afterwards.
        moment = Coalesce(Least("statement__finished_on", "statement__received_at"), "finished_at")
        rank = Window(
            RowNumber(),
            partition_by=[F("release"), F("rebuilder__operator"), F("kind")],
            order_by=[F("moment").desc(), F("queued_at").desc()],
        )
        return (
            self.attempts()
            .filter(state__in=[RunState.SUCCEEDED, RunState.FAILED])
            .annotate(kind=kind, moment=moment, rank=rank)
            .filter(rank=1)
        )

    def newest_attempts(self) -> RebuildQuerySet:
        """The newest runs of each release, for lists."""
        rank = Window(RowNumber(), partition_by=[F("release")], order_by=[F("queued_at").desc(), F("pk").desc()])
        return self.attempts().annotate(rank=rank).filter(rank__lte=SHOWN_ATTEMPTS)
