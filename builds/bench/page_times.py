"""What each page costs in a portal that is full: statements, server time and bytes, without a network."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import cycle, pairwise

from django.db import connection
from django.db.models import Model, QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.models import Component, Measurement, Operator, Project, Rebuild, Release, StoredStatement

_SAMPLES = 40
_WARM_UP = 3
MOST_QUERIES = 12
MOST_SENT = 60_000
"""Bytes of a page as sent, its log left out."""
_HOST = "127.0.0.1"
_STYLE = re.compile(r'<link rel="stylesheet"')
_BLOCKING_SCRIPT = re.compile(r"<script(?![^>]*\b(?:defer|async|type=\"module\")\b)[^>]*\bsrc=")


@dataclass(frozen=True, slots=True)
class PageFigures:
    """One page over many of its kind: most statements, seconds at the 95th percentile, most bytes as sent (gzip), and
    how many style sheets and scripts hold its first paint up."""

    name: str
    queries: int
    p95: float
    sent: int
    blocking: int


def addresses() -> dict[str, list[str]]:
    """Every page by name, each with the addresses of up to ``_SAMPLES`` things that it is about."""
    releases = _spread(Release.objects.select_related("project").order_by("pk"))
    ended = [row.pk for row in _spread(Rebuild.objects.filter(state=RunState.SUCCEEDED).order_by("queued_at"))]
    running = [row.pk for row in _spread(Rebuild.objects.filter(state=RunState.RUNNING).order_by("queued_at"))]
    projects = [project.name for project in Project.objects.order_by("pk")]
    measured = [row.published for row in _spread(Measurement.objects.order_by("pk"))]
    digests = [row.sha256 for row in _spread(Component.objects.order_by("pk"))]
    statements = [row.get_absolute_url() for row in _spread(StoredStatement.objects.order_by("pk"))]
    pairs = list(pairwise(releases))
    return {
        "home": [reverse("home")],
        "releases": [reverse("releases")],
        "releases, filtered": [f"{reverse('releases')}?project={name}&decision=deny" for name in projects],
        "search, a measurement": [f"{reverse('search')}?q={value}" for value in measured],
        "search, a digest that nobody knows": [f"{reverse('search')}?q={'ab' * 32}"],
        "project": [reverse("project", args=[name]) for name in projects],
        "what is missing": [reverse("missing", args=[name]) for name in projects],
        "release": [release.get_absolute_url() for release in releases],
        "measurement": [reverse("measurement", args=[value]) for value in measured],
        "component": [reverse("component", args=["sha256", value]) for value in digests],
        "rebuild": [reverse("rebuild", args=[pk]) for pk in ended],
        "rebuild, running": [reverse("rebuild", args=[pk]) for pk in running],
        "log, a page of it": [reverse("rebuild-log-page", args=[pk]) for pk in ended],
        "log, the tail of a running one": [f"{reverse('rebuild-log-tail', args=[pk])}?after=0" for pk in running],
        "statement": statements,
        "compare releases": [
            f"{reverse('compare-releases', args=[old.project.name])}?from={old.tag}&to={new.tag}"
            for old, new in pairs
            if old.project_id == new.project_id
        ],
        "compare rebuilds": [f"{reverse('compare-rebuilds')}?from={one}&to={other}" for one, other in pairwise(ended)],
        "rebuilders": [reverse("operators")],
        "one rebuilder": [operator.get_absolute_url() for operator in Operator.objects.order_by("pk")],
        "queue": [reverse("queue")],
        "what a verdict means": [reverse("meaning")],
        "sign in": [reverse("sign-in")],
        "feed": [reverse("feed")],
        "badge": [reverse("project-badge", args=[name]) for name in projects],
    }


def measure(requests: int) -> list[PageFigures]:
    """Ask for each page ``requests`` times; the answers' figures."""
    return [_measured(name, found, requests) for name, found in addresses().items()]


def _spread[Row: Model](found: QuerySet[Row, Row]) -> list[Row]:
    """Up to ``_SAMPLES`` of a query's rows, from its whole length."""
    step = max(1, found.count() // _SAMPLES)
    return list(found[::step][:_SAMPLES])


def _measured(name: str, found: Sequence[str], requests: int) -> PageFigures:
    if not found:
        raise PortalError(f"there is nothing that the page {name!r} could be about", where="benchmark")
    client = Client(headers={"accept-encoding": "gzip"}, SERVER_NAME=_HOST)
    ask: Callable[[str], bytes] = lambda address: _body(client, address)  # noqa: E731 - the one place that asks
    for address in found[:_WARM_UP]:
        ask(address)
    queries, sent = 0, 0
    for address in found:
        with CaptureQueriesContext(connection) as captured:
            sent = max(sent, len(ask(address)))
        queries = max(queries, len(captured))
    times = [_seconds(ask, address) for address, _ in zip(cycle(found), range(requests), strict=False)]
    return PageFigures(
        name,
        queries,
        percentile(times, 0.95),
        sent,
        _blocking(_body(Client(SERVER_NAME=_HOST), found[0]).decode()),
    )


def _body(client: Client, address: str) -> bytes:
    answer = client.get(address)
    if answer.status_code not in {HTTPStatus.OK, HTTPStatus.FOUND, HTTPStatus.NO_CONTENT}:
        raise PortalError(f"{address} answered {answer.status_code}", where="benchmark")
    return bytes(answer.getvalue())


def _seconds(ask: Callable[[str], bytes], address: str) -> float:
    began = time.perf_counter()
    ask(address)
    return time.perf_counter() - began


def _blocking(text: str) -> int:
    return len(_STYLE.findall(text)) + len(_BLOCKING_SCRIPT.findall(text))


def percentile(times: Sequence[float], part: float) -> float:
    """The time that ``part`` of them do not exceed (nearest rank)."""
    return sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
