"""Releases in the mirror: a document for each with all its evidence, made again only where something changed."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from django.db.models import F
from pydantic import ValidationError

from attestations.domain.mirror import (
    EvidenceEntry,
    FileKind,
    MeasurementsDocument,
    RecordedDecision,
    Ref,
    ReleaseDocument,
    ReleaseEntry,
    ReleaseShard,
    Series,
    Tree,
    digits_for,
    parse,
    release_key,
)
from attestations.mirror_tree import MirrorTree
from attestations.models import BundleRecord, MirroredRelease, Sighting, VerdictRecord
from attestations.services.mirror_shards import put_tree
from attestations.services.recorded import newest_record, outdated
from attestations.services.verdicts import bundle_of
from builds.domain.errors import MalformedInput
from builds.domain.frozen import first_problem
from builds.domain.roles import BootMode, Role
from builds.domain.verdict import Decision
from builds.models import MeasurementSeries, Release, StoredStatement
from builds.pipeline.measurement import vcpu_types_by_signature
from builds.services.consensus import results_of, statement_of
from builds.services.evidence import published_component
from builds.snapshot import one_snapshot

logger = logging.getLogger(__name__)

_FORM = "1"
"""Part of every version: another way of making documents makes all of them again."""
_LOOKED_AT = 100
_MADE_AT_ONCE = 20
_MOST_IN_SHARD = 64


@dataclass(frozen=True, slots=True)
class _Row:
    """What tells whether a release's document is still true, in one statement for many."""

    pk: int
    project: str
    tag: str
    version: str


@dataclass(slots=True)
class _Loaded:
    """What the documents of a few releases are made from, besides the releases: blobs are in the tree already."""

    records: dict[int, VerdictRecord] = field(default_factory=dict)
    statements: dict[int, Ref] = field(default_factory=dict)
    """By the statement's primary key."""
    bundles: dict[int, list[Ref]] = field(default_factory=lambda: defaultdict(list))
    series: dict[int, list[MeasurementSeries]] = field(default_factory=lambda: defaultdict(list))


def release_tree(tree: MirrorTree, *, anew: bool) -> Tree:
    """The index of all releases; ``anew`` makes every document again. Statements grow with the number of pages."""
    entries = sorted(_entries(tree, anew=anew), key=lambda entry: entry.key)
    digits = digits_for(len(entries), _MOST_IN_SHARD)
    shards: dict[str, list[ReleaseEntry]] = defaultdict(list)
    for entry in entries:
        shards[entry.key[:digits]].append(entry)
    found = (
        (prefix, tree.put_index(ReleaseShard(prefix=prefix, releases=tuple(held)).encode()))
        for prefix, held in shards.items()
    )
    return put_tree(tree, digits, len(entries), found, empty=ReleaseShard(prefix="", releases=()))


def _entries(tree: MirrorTree, *, anew: bool) -> Iterator[ReleaseEntry]:
    for page in _pages():
        keys = [row.pk for row in page]
        known = {row.release_id: row for row in MirroredRelease.objects.filter(release__in=keys)}
        waiting = set(Release.objects.filter(outdated(), pk__in=keys).values_list("pk", flat=True))
        kept = {row.pk: ref for row in page if not anew and (ref := _kept(tree, row, known.get(row.pk))) is not None}
        stale = [row for row in page if row.pk not in kept]
        for start in range(0, len(stale), _MADE_AT_ONCE):
            kept |= _make(tree, stale[start : start + _MADE_AT_ONCE])
        for row in page:
            # One that was removed meanwhile is in no document, nor one that none can hold.
            if row.pk in kept:
                yield ReleaseEntry(
                    key=release_key(row.project, row.tag),
                    project=row.project,
                    tag=row.tag,
                    judged=row.pk not in waiting,
                    document=kept[row.pk],
                )


def _pages() -> Iterator[list[_Row]]:
    facts = Release.objects.order_by("pk").annotate(newest=newest_record(), name=F("project__name"))
    asked = facts.values_list(
        "pk", "name", "tag", "newest", "evidence_changed_at", "measurements_indexed_at", "manifest_sha256"
    )
    after = 0
    while page := list(asked.filter(pk__gt=after)[:_LOOKED_AT]):
        yield [_Row(pk, name, tag, _version(name, tag, *facts)) for pk, name, tag, *facts in page]
        after = page[-1][0]


def _version(*facts: object) -> str:
    return hashlib.sha256(repr((_FORM, *facts)).encode()).hexdigest()


def _kept(tree: MirrorTree, row: _Row, known: MirroredRelease | None) -> Ref | None:
    """The document as it is known, when it is still true and everything that it names lies in the tree."""
    if known is None or known.version != row.version:
        return None
    data = bytes(known.document)
    try:
        document = parse(ReleaseDocument, data)
    except MalformedInput:
        # Of another version of the program.
        return None
    if not all(tree.keep(entry.ref.blob_path, entry.ref.size) for entry in document.files):
        return None
    measured = document.measurements
    if measured is not None and not tree.keep(measured.index_path, measured.size):
        return None
    return tree.put_index(data)


def _make(tree: MirrorTree, rows: Sequence[_Row]) -> dict[int, Ref]:
    """Make the documents of a few releases, in a constant number of statements besides those that keep them."""
    keys = [row.pk for row in rows]
    with one_snapshot():
        releases = list(Release.objects.with_evidence(attempts=False).filter(pk__in=keys))
        loaded = _load(tree, releases)
    versions = {row.pk: row.version for row in rows}
    made: dict[int, Ref] = {}
    kept: list[MirroredRelease] = []
    for release in releases:
        try:
            data = _document(tree, release, loaded).encode()
        except ValidationError as error:
            # One release whose names no document can hold keeps none of the others from being published.
            logger.error("%s is not mirrored: %s", release, first_problem(error))  # noqa: TRY400 - named
            continue
        made[release.pk] = tree.put_index(data)
        kept.append(MirroredRelease(release=release, version=versions[release.pk], document=data))
    MirroredRelease.objects.bulk_create(
        kept, update_conflicts=True, unique_fields=["release"], update_fields=["version", "document"]
    )
    return made


def _load(tree: MirrorTree, releases: Sequence[Release]) -> _Loaded:
    loaded = _Loaded()
    newest = Release.objects.filter(pk__in=[release.pk for release in releases]).values_list(newest_record())
    for record in VerdictRecord.objects.filter(pk__in=newest).select_related("key"):
        loaded.records[record.release_id] = record
    wanted = [
        statement.pk
        for release in releases
        for result in release.results  # type: ignore[attr-defined] # with_evidence
        if (statement := statement_of(result)) is not None
    ]
    contents = StoredStatement.objects.filter(pk__in=wanted).values_list("pk", "content")
    # A few at a time: each may have megabytes.
    for pk, content in contents.iterator(chunk_size=5):
        loaded.statements[pk] = tree.put_blob(bytes(content))
    _load_bundles(tree, releases, loaded)
    for series in MeasurementSeries.objects.filter(release__in=releases).order_by("release", "basis"):
        loaded.series[series.release_id].append(series)
    return loaded


def _load_bundles(tree: MirrorTree, releases: Sequence[Release], loaded: _Loaded) -> None:
    order = {role.value: place for place, role in enumerate(Role)}
    seen = list(
        Sighting.objects.filter(release__in=releases)
        .order_by("seen_at", "pk")
        .values_list("release_id", "role", "bundle_id")
    )
    refs: dict[int, Ref] = {}
    contents = BundleRecord.objects.filter(pk__in={bundle for _, _, bundle in seen}).values_list("pk", "content")
    for pk, content in contents.iterator(chunk_size=5):
        refs[pk] = tree.put_blob(bytes(content))
    # As pages and API list them: by component, those that are about none last.
    for release, _, bundle in sorted(seen, key=lambda entry: order.get(entry[1], len(order))):
        if refs[bundle] not in loaded.bundles[release]:
            loaded.bundles[release].append(refs[bundle])


def _document(tree: MirrorTree, release: Release, loaded: _Loaded) -> ReleaseDocument:
    record, series = loaded.records.get(release.pk), loaded.series.get(release.pk)
    return ReleaseDocument(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        verdict=_decision(record) if record is not None else None,
        files=(
            _file("document", f"/documents/{release.manifest_sha256}", tree.put_blob(bytes(release.manifest))),
            *(_verdict_files(tree, record) if record is not None else ()),
            *_result_files(tree, release, loaded.statements),
            *(
                _file("attestation", f"/attestations/{ref.sha256}/bundle.json", ref)
                for ref in loaded.bundles.get(release.pk, ())
            ),
        ),
        measurements=tree.put_index(_measurements(release, series).encode()) if series else None,
    )


def _file(kind: FileKind, address: str, ref: Ref, operator: str = "") -> EvidenceEntry:
    return EvidenceEntry(kind=kind, address=address, ref=ref, operator=operator or None)


def _decision(record: VerdictRecord) -> RecordedDecision:
    decision = Decision(record.decision)
    return RecordedDecision(decision=decision.value, at=record.at.astimezone(UTC), sentence=record.sentence)


def _verdict_files(tree: MirrorTree, record: VerdictRecord) -> Iterator[EvidenceEntry]:
    """As the portal names them in the history of verdicts."""
    yield _file("policy", f"/policies/{record.policy_sha256}.json", tree.put_blob(bytes(record.policy)))
    if record.payload_sha256 is not None and record.key is not None:
        bundle = tree.put_blob(bundle_of(record))
        yield _file("verdict", f"/verdicts/{record.payload_sha256}.vsa.sigstore.json", bundle)
        key = tree.put_blob(record.key.pem.encode())
        yield _file("portal-key", f"/portal-keys/{record.key.fingerprint}.pub", key)


def _result_files(tree: MirrorTree, release: Release, statements: Mapping[int, Ref]) -> Iterable[EvidenceEntry]:
    """The statement of each operator's result, newest first, then their keys."""
    published = [published_component(component) for component in release.components.all()]
    found, keys = [], {}
    for result in reversed(results_of(release, published)):
        statement, rebuilder = statement_of(result.rebuild), result.rebuild.rebuilder
        if statement is None or rebuilder is None or statement.pk not in statements:
            continue
        operator = rebuilder.operator.slug
        address = f"/statements/{statement.payload_sha256}.received.json"
        found.append(_file("statement", address, statements[statement.pk], operator))
        keys[statement.key.fingerprint] = (statement.key.pem, operator)
    return (
        *found,
        *(
            _file("rebuilder-key", f"/rebuilder-keys/{fingerprint}.pub", tree.put_blob(pem.encode()), operator)
            for fingerprint, (pem, operator) in keys.items()
        ),
    )


def _measurements(release: Release, series: Sequence[MeasurementSeries]) -> MeasurementsDocument:
    return MeasurementsDocument(
        project=release.project.name,
        tag=release.tag,
        series=tuple(
            Series(
                boot_mode=BootMode(entry.boot_mode),
                cpu_signature=entry.cpu_signature,
                vcpu_types=vcpu_types_by_signature()[entry.cpu_signature],
                guest_features=entry.guest_features,
                vmm=entry.vmm,
                command_line=entry.command_line,
                digests=bytes(entry.digests).hex(),
            )
            for entry in series
        ),
    )
