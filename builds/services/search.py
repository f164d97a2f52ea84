"""Finds what a pasted text names among releases, rebuilds, projects and every digest that is known here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from django.db.models import Q
from django.urls import reverse

from builds.domain.search import COMMIT_CHARACTERS, Kind, Query, apart, tag_spellings
from builds.models import Operator, Project, Rebuild, Release
from builds.querysets import ReleaseQuerySet
from builds.services.digest_indexes import Found, Searched, found_exactly, found_near, sizes

MOST_HITS = 50
_AFTER_HEX = "g"


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was found: what it is, how it is called (maybe by a stranger), where it is, and why it fits."""

    kind: str
    title: str
    address: str
    why: str
    is_digest: bool = False
    apart: tuple[str, str, str] | None = None
    """Of a near miss that is a digest: what is the same, what is not, what is the same again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that was found, and if that is nothing: what is like it, and what was searched."""

    query: Query
    hits: tuple[Hit, ...]
    near: tuple[Hit, ...] = ()
    searched: tuple[Searched, ...] = ()

    @property
    def only(self) -> str:
        """The address of the one thing that was found; "" when there are several or none."""
        addresses = {hit.address for hit in self.hits}
        return addresses.pop() if len(addresses) == 1 else ""

    @property
    def is_measurement(self) -> bool:
        """Whether it has the length of a launch measurement."""
        return bool(self.query.value(Kind.SHA384))

    @property
    def by_kind(self) -> list[tuple[str, list[Hit]]]:
        """The hits under the words of what they are, in the order in which they were looked for."""
        kinds = dict.fromkeys(hit.kind for hit in self.hits)
        return [(kind, [hit for hit in self.hits if hit.kind == kind]) for kind in kinds]

    @property
    def is_cut_off(self) -> bool:
        """Whether more fits than is listed."""
        return len(self.hits) >= MOST_HITS


type MoreHits = Callable[[str], Sequence[Hit]]
"""Finds a digest among what builds does not know of: bundles and signed verdicts."""
type MoreSizes = Callable[[], Sequence[Searched]]


def search(query: Query, *, more_hits: MoreHits, more_sizes: MoreSizes) -> Answer:
    """Look everywhere that one of the query's readings leads to, in a constant number of statements."""
    hits = [*_projects(query), *_operators(query), *_releases(query), *_rebuilds(query)]
    if query.digest:
        hits += _distinct(_digest_hits(found_exactly(query.digest)))
        hits += more_hits(query.digest)
    if hits or not query.readings:
        return Answer(query, tuple(hits))
    near = [*near_digests(query.hexadecimal), *_near_tags(query)]
    return Answer(query, (), tuple(near), (*sizes(), *more_sizes()))


def near_digests(pasted: str) -> list[Hit]:
    """Known digests that begin or end like a pasted one, the likest first."""
    return [
        replace(
            hit,
            why=f"{near.likeness}; among {near.found.words}",
            apart=apart(pasted, near.found.value) if hit.is_digest else None,
        )
        for near in found_near(pasted)
        for hit in _digest_hits([near.found])
    ]


def component_address(value: str) -> str:
    """The page of a digest of 64, 96 or 128 hex."""
    algorithm = {64: "sha256", 96: "sha384", 128: "sha512"}[len(value)]
    return reverse("component", args=[algorithm, value])


def _projects(query: Query) -> list[Hit]:
    name = query.value(Kind.PROJECT)
    found = Project.objects.filter(name__iexact=name)[:MOST_HITS] if name else ()
    return [Hit("project", row.name, reverse("project", args=[row.name]), "its name") for row in found]


def _releases(query: Query) -> list[Hit]:
    tag, commit = query.value(Kind.TAG), query.value(Kind.COMMIT)
    wanted = Q()
    if tag:
        wanted |= Q(tag=tag)
    if commit:
        wanted |= Q(commit__gte=commit, commit__lt=commit + _AFTER_HEX)
    if both := query.value(Kind.RELEASE):
        project, _, of_project = both.partition(" ")
        wanted |= Q(project__name=project, tag=of_project)
    if not wanted:
        return []
    rows = _named(Release.objects.filter(wanted).order_by("-pk"))
    return [_release_hit(row, _why(row, tag, commit)) for row in rows[:MOST_HITS]]


def _why(row: Release, tag: str, commit: str) -> str:
    if commit and row.commit.startswith(commit):
        return f"its commit {row.commit}" if len(commit) == COMMIT_CHARACTERS else f"its commit {row.commit} begins so"
    return "its tag" if row.tag == tag else "its project and tag"


def _rebuilds(query: Query) -> list[Hit]:
    name = query.value(Kind.REBUILD)
    if not name:
        return []
    first, last = (uuid.UUID(name.replace("-", "").ljust(32, end)) for end in "0f")
    rows = Rebuild.objects.filter(pk__gte=first, pk__lte=last).select_related("release__project")
    why = "its id" if first == last else "its id begins so"
    return [
        Hit("rebuild", f"{row.pk} of {row.release}", row.get_absolute_url(), why)
        for row in rows.only("release__tag", "release__project__name").order_by("pk")[:MOST_HITS]
    ]


def _operators(query: Query) -> list[Hit]:
    name = query.value(Kind.OPERATOR)
    rows = Operator.objects.filter(Q(slug__iexact=name) | Q(name__iexact=name))[:MOST_HITS] if name else ()
    return [Hit("operator", row.name, row.get_absolute_url(), "its name") for row in rows]


def _digest_hits(found: Iterable[Found]) -> list[Hit]:
    """What the pages of these digests are; of a manifest, the release that it belongs to."""
    found = list(found)
    manifests = [int(entry.reference) for entry in found if entry.thing == "release"]
    releases = {row.pk: row for row in _named(Release.objects.filter(pk__in=manifests))} if manifests else {}
    hits = []
    for entry in found:
        value, why = entry.value, f"among {entry.words}"
        match entry.thing:
            case "component":
                hits.append(Hit("digest", value, component_address(value), why, is_digest=True))
            case "measurement":
                hits.append(Hit("launch measurement", value, reverse("measurement", args=[value]), why, is_digest=True))
            case "statement":
                hits.append(Hit("signed statement", value, reverse("statement", args=[value]), why, is_digest=True))
            case "key":
                address = reverse("operator", args=[entry.reference])
                hits.append(Hit("rebuilder", entry.reference, address, "the key it signs with"))
            case _ if (row := releases.get(int(entry.reference))) is not None:
                hits.append(_release_hit(row, f"the digest of its {row.document_name}"))
    return hits


def _distinct(hits: Iterable[Hit]) -> list[Hit]:
    """One for each address, with everything that speaks for it."""
    whys: dict[str, list[Hit]] = {}
    for hit in hits:
        whys.setdefault(hit.address, []).append(hit)
    return [
        Hit(same[0].kind, same[0].title, address, "; ".join(hit.why for hit in same), same[0].is_digest)
        for address, same in whys.items()
    ]


def _near_tags(query: Query) -> list[Hit]:
    """Tags that differ in case or in a ``v``, and those that begin with what was pasted."""
    tag = query.value(Kind.TAG)
    if not tag:
        return []
    spelled = Q()
    for spelling in tag_spellings(tag):
        spelled |= Q(tag__iexact=spelling)
    found = _named(Release.objects.filter(spelled | Q(tag__istartswith=tag)).order_by("-pk"))
    same = tag_spellings(tag)
    return [
        _release_hit(row, "its tag is written in another way" if row.tag.lower() in same else "its tag begins so")
        for row in found[:MOST_HITS]
    ]


def _named(rows: ReleaseQuerySet) -> ReleaseQuerySet:
    """Only what names a release, without the documents that it came with."""
    return rows.select_related("project").only("tag", "commit", "document_name", "project__name")


def _release_hit(row: Release, why: str) -> Hit:
    return Hit("release", str(row), row.get_absolute_url(), why)
