"""Keeps what a release's verdict was: a signed record for every change, so that any day can be asked for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q
from django.utils import timezone

from attestations.domain.policy_statement import ExpectedIdentity, PolicyStatement
from attestations.domain.summary import (
    CountedRebuild,
    InputAttestation,
    PolicyReference,
    ReleaseName,
    VerdictSummary,
    subjects_of,
)
from attestations.models import ExpectedPublisher, PortalKey, VerdictRecord
from attestations.services import telling, trust_roots
from attestations.services.portal_key import portal_key
from attestations.services.publishers import policy_of, public_keys
from attestations.services.standing import ReleaseStanding, judged_view
from builds.domain.conditions import ConditionState
from builds.domain.dsse import IN_TOTO_PAYLOAD, parse_envelope
from builds.domain.errors import MalformedInput, PortalError
from builds.domain.evidence import AttestationState
from builds.domain.verdict import Decision
from builds.models import Release, StoredStatement
from builds.pipeline.reproduce import program_version
from builds.pipeline.signing import VerifyingKey, digest_name, read_public_key
from builds.services.consensus import statement_of
from builds.services.evidence import ReleaseView
from builds.services.evidence import policy_of as release_policy
from builds.snapshot import written_from_one_snapshot

logger = logging.getLogger(__name__)
_AT_ONCE = 100
_RECORDING = 0x7665726469637473
"""Names the advisory lock of PostgreSQL that whoever makes a record holds; it means nothing else."""
_FAILS_FOR_ALL = (PortalError, OperationalError, InterfaceError)
UNSTATED = "verdict-can-be-stated"
"""The condition that a release fails whose verdict no summary can state."""
_FORM = 2
"""Raise this when summaries say more than before, so that every verdict is signed anew once. 2: their rebuilds."""
_OF_ADDRESSES = "!#$%&'()*+,/:;=?@[]~"
"""What a URI may hold besides letters and digits (RFC 3986, section 2)."""


def record_due() -> int:
    """Record the verdicts of releases whose evidence changed since; how many were recorded."""
    due = Q(judged_at__isnull=True) | Q(evidence_changed_at__gte=F("judged_at"))
    return _record_each(_releases(due))


def record_all() -> int:
    """Record every release whose verdict changed without anybody having said so: by time, policy or trust root."""
    return _record_each(_releases(Q()))


def _record_each(release_ids: Iterable[int]) -> int:
    """How many were recorded; one whose verdict cannot be stated is denied, stays due and keeps none of the others.

    Nor does one that fails in a way nobody foresaw, which stays due. What fails for all (key, database) is raised.
    """
    made = 0
    for pk in release_ids:
        try:
            made += record_verdict(pk) is not None
        except MalformedInput as error:
            logger.error("the verdict of release %s cannot be stated: %s", pk, error)  # noqa: TRY400 - named
            _deny_unstated(pk, error)
        except _FAILS_FOR_ALL:
            raise
        except Exception:
            logger.exception("the verdict of release %s is not recorded: a fault of the portal", pk)
    return made


def _releases(wanted: Q) -> Iterator[int]:
    """Each by its primary key, a page at a time: those that stay due are passed over and not asked for again."""
    after = 0
    found = Release.objects.filter(wanted).order_by("pk").values_list("pk", flat=True)
    while page := list(found.filter(pk__gt=after)[:_AT_ONCE]):
        yield from page
        after = page[-1]


def _deny_unstated(release_id: int, error: MalformedInput) -> None:
    """Let no verdict stand that was derived before something came that keeps it from being derived or stated."""
    reason = f"The verdict cannot be stated: {error.what}."
    basis = hashlib.sha256(reason.encode()).hexdigest()
    with transaction.atomic():
        release = Release.objects.select_for_update().select_related("project").get(pk=release_id)
        newest = _newest(release)
        if newest is not None and newest.basis == basis:
            return
        record = VerdictRecord(
            release=release,
            at=_after(newest, timezone.now()),
            decision=Decision.DENY,
            needed=release.project.needed_operators,
            reproduced=0,
            contradicting=0,
            failed=0,
            conditions=[[UNSTATED, ConditionState.UNKNOWN.value, reason]],
            sentence=f"{reason} Deny: {UNSTATED}.",
            basis=basis,
            policy=b"",
            policy_sha256=hashlib.sha256(b"").hexdigest(),
        )
        _append(record)


def _append(record: VerdictRecord) -> None:
    """The one place where records are made."""
    in_order()
    record.save()
    telling.enqueue(record)


def in_order() -> None:
    """Until this transaction ends, nobody else makes a record: numbers become visible in the order they are given.

    PostgreSQL gives a row its number when it is made, and shows it when its transaction commits. Of two at once the
    higher number might be seen first, and a poller that goes on from there would never see the lower one. Everything
    slow (deriving, signing) is over before the lock is asked for. SQLite has one writer at a time anyway.
    """
    connection = transaction.get_connection()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_RECORDING])


def _newest(release: Release) -> VerdictRecord | None:
    return VerdictRecord.objects.filter(release=release).order_by("-at", "-pk").first()


def _after(newest: VerdictRecord | None, now: datetime) -> datetime:
    """A record's moment: never before the one that it follows, whatever the clock does."""
    return max(now, newest.at) if newest is not None else now


def record_verdict(release_id: int) -> VerdictRecord | None:
    """Derive a release's verdict and record it if it is another than the newest; None when it is not.

    Raises the errors of the portal's signer; then nothing is recorded and the release stays due.
    """
    return written_from_one_snapshot(lambda: _record_release(release_id))


def _record_release(release_id: int) -> VerdictRecord | None:
    # One at a time for a release: two that record at once would both be the newest.
    Release.objects.select_for_update().get(pk=release_id)
    now = timezone.now()
    release = Release.objects.with_evidence().get(pk=release_id)
    view, standing = judged_view(release)
    record = _record(view, standing, now)
    Release.objects.filter(pk=release_id).update(judged_at=now)
    return record


def record_soon(release_id: int) -> None:
    """Record now; what keeps it from being signed is logged, and the sweep tries again."""
    try:
        record_verdict(release_id)
    except PortalError as error:
        logger.error("the verdict of release %s is not recorded: %s", release_id, error)  # noqa: TRY400 - named
    except Exception:
        # What came is accepted and stored: its sender is not told that it failed.
        logger.exception("the verdict of release %s is not recorded: a fault of the portal", release_id)


def bundle_of(record: VerdictRecord) -> bytes:
    """The signed summary as a Sigstore bundle (v0.3), its key named by hint; only for a record that is signed."""
    envelope = parse_envelope(bytes(record.envelope or b""), where="verdict")
    return envelope.as_bundle(read_public_key(record.key.pem if record.key is not None else "").hint)


def _record(view: ReleaseView, standing: ReleaseStanding, now: datetime) -> VerdictRecord | None:
    verdict, release = view.verdict, view.release
    policy = policy_statement_of(view, standing)
    basis = basis_of(view, standing, policy)
    newest = _newest(release)
    if newest is not None and newest.basis == basis:
        return None
    record = VerdictRecord(
        release=release,
        at=_after(newest, now),
        decision=verdict.decision,
        outcome=verdict.outcome or "",
        attestation=verdict.attestation or "",
        measurement=view.measured or "",
        needed=verdict.tally.needed,
        reproduced=verdict.tally.reproduced,
        contradicting=verdict.tally.contradicting,
        failed=verdict.tally.failed,
        conditions=[[entry.key, entry.state.value, entry.sentence] for entry in verdict.conditions],
        sentence=verdict.sentence,
        basis=basis,
        policy=policy.encode(),
        policy_sha256=policy.sha256,
    )
    _sign(record, view, standing)
    _append(record)
    return record


def basis_of(view: ReleaseView, standing: ReleaseStanding, policy: PolicyStatement) -> str:
    """What makes a verdict another one: decision, states, counts, policy, the attestations it was derived from and
    the bytes it is about; not its words.
    """
    verdict = view.verdict
    states = [(entry.key, entry.state.value) for entry in verdict.conditions]
    subjects = [(row.role, str(row.published.content), str(row.published.container)) for row in view.components]
    inputs = (sorted(_counted_statements(view)), sorted(_verified_bundles(standing)))
    derived = (verdict.decision, verdict.outcome, verdict.attestation, states, verdict.tally)
    return hashlib.sha256(repr((_FORM, *derived, policy.sha256, subjects, inputs)).encode()).hexdigest()


def policy_statement_of(view: ReleaseView, standing: ReleaseStanding) -> PolicyStatement:
    """The policy that a release is held against now, as the document that its summary would name."""
    identities = [_identity(standing.publisher)] if standing.publisher is not None else []
    return PolicyStatement.of(view.release.project.name, release_policy(view.release), identities)


def _identity(publisher: ExpectedPublisher) -> ExpectedIdentity:
    """The publisher that is expected; a trust root that nobody added vouches for nobody, and is not named."""
    known = trust_roots.known()
    roots = [known[name].root.ref for name in publisher.trust_roots if name in known]
    return ExpectedIdentity.of(policy_of(publisher, public_keys(publisher)), roots)


def _sign(record: VerdictRecord, view: ReleaseView, standing: ReleaseStanding) -> None:
    """Sign the summary into the record; a release of which no byte is known has none."""
    names = {row.role: row.file_name for row in view.components}
    subjects = subjects_of((row.published for row in view.components), names)
    if not subjects:
        return
    signer = portal_key()
    release, policy = view.release, record.policy_sha256
    stated = _counted_rebuilds(view)
    summary = VerdictSummary(
        verifier_id=settings.ENVIRONMENT.public_url or signer.public.name,
        verifier_version={"tee-portal": program_version()},
        time=record.at.astimezone(UTC).replace(microsecond=0),
        resource_uri=address_of(release),
        release=ReleaseName(release.project.name, release.tag, release.commit),
        policy=PolicyReference(_address(f"/policies/{policy}.json", policy), policy),
        inputs=_inputs(stated, standing),
        subjects=subjects,
        tally=view.verdict.tally,
        passed=view.verdict.decision is Decision.ALLOW,
        unmet=tuple(entry.key for entry in view.verdict.unmet),
        rebuilds=tuple(sorted(stated.values(), key=lambda entry: entry.sha256)),
    )
    payload = summary.encode()
    record.payload_sha256 = hashlib.sha256(payload).hexdigest()
    # A verdict that came back within the second of the summary: one digest names the bytes of one envelope.
    signed = VerdictRecord.objects.filter(payload_sha256=record.payload_sha256).select_related("key").first()
    if signed is not None:
        record.key, record.envelope = signed.key, signed.envelope
        return
    record.key = _known_key(signer.public)
    record.envelope = signer.sign(IN_TOTO_PAYLOAD, payload).as_bytes()


def _known_key(public: VerifyingKey) -> PortalKey:
    known, _ = PortalKey.objects.get_or_create(fingerprint=public.fingerprint, defaults={"pem": public.pem})
    return known


def _inputs(stated: Mapping[str, CountedRebuild], standing: ReleaseStanding) -> tuple[InputAttestation, ...]:
    """The signed statements that counted and the bundles that verified, by the bytes that are stored of each."""
    found = {
        (_address(f"/statements/{name}.received.json", entry.sha256), entry.sha256) for name, entry in stated.items()
    }
    found |= {
        (_address(f"/attestations/{digest}/bundle.json", digest), digest) for digest in _verified_bundles(standing)
    }
    return tuple(InputAttestation(uri, digest) for uri, digest in sorted(found))


def _counted_rebuilds(view: ReleaseView) -> dict[str, CountedRebuild]:
    """Which of the inputs are rebuilders' statements, and whose: a bundle's bytes may claim to be one.

    By the digests of their payloads.
    """
    counted = StoredStatement.objects.filter(payload_sha256__in=_counted_statements(view))
    found = counted.values_list("payload_sha256", "content", "key__fingerprint", "key__rebuilder__operator__slug")
    return {
        name: CountedRebuild(hashlib.sha256(bytes(content)).hexdigest(), key, operator)
        for name, content, key, operator in found
    }


def _counted_statements(view: ReleaseView) -> set[str]:
    """By the digests of their payloads."""
    stated = (statement_of(result.rebuild) for result in view.results if result.counts)
    return {statement.payload_sha256 for statement in stated if statement is not None}


def _verified_bundles(standing: ReleaseStanding) -> set[str]:
    """By the digests of their bytes."""
    return {
        judged.sighting.bundle.sha256
        for component in standing.components
        for judged in component.bundles
        if judged.state is AttestationState.VERIFIED
    }


def _address(path: str, sha256: str) -> str:
    """Where the public finds something; its name by digest (RFC 6920) while the portal has no public address."""
    public = settings.ENVIRONMENT.public_url
    return f"{public.rstrip('/')}{path}" if public is not None else digest_name(sha256)


def address_of(release: Release) -> str:
    """The release as a URI: its page, or its tag in the source repository while the portal has no public address."""
    public = settings.ENVIRONMENT.public_url
    if public is not None:
        return f"{public.rstrip('/')}/releases/{release.project.name}/{quote(release.tag)}/"
    return f"{quote(release.project.source_url, safe=_OF_ADDRESSES)}#{quote(release.tag)}"
