"""Each axis of a verdict with what it rests on: where the evidence is, and by whose word it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from django.urls import reverse

from attestations.services.standing import JudgedBundle, ReleaseStanding
from builds.domain.conditions import Condition, ConditionState
from builds.domain.evidence import AttestationState
from builds.domain.verdict import ReleaseVerdict
from builds.models import Release
from builds.services.consensus import Result, statement_of
from builds.services.evidence import ReleaseView

API = "/api/v1"


class AnchorKind(StrEnum):
    """Who says so: a rebuilder by its key, a publisher by a Sigstore trust root or a plain key, or the portal."""

    REBUILDER = "rebuilder"
    SIGSTORE = "sigstore"
    PUBLISHER_KEY = "publisher-key"
    PORTAL = "portal"


class LinkKind(StrEnum):
    """What an address leads to."""

    MANIFEST = "manifest"
    RELEASE = "release"
    STATEMENT = "statement"
    REBUILD = "rebuild"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True)
class EvidenceLink:
    """Where evidence is, as an absolute path of the portal or a whole address, and the SHA-256 that names it.

    Of a statement that is the digest of its payload, of a manifest that of the document's bytes at the address.
    """

    kind: LinkKind
    address: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """By whose word something holds; "" where there is no such thing. ``key`` is a fingerprint: SHA-256, in hex."""

    kind: AnchorKind
    name: str
    key: str = ""
    identity: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """A condition with the state of what it is about ("" where that has none), the evidence and who vouches for it."""

    condition: Condition
    found: str
    evidence: tuple[EvidenceLink, ...]
    anchors: tuple[TrustAnchor, ...]


RECOMPUTED = TrustAnchor(AnchorKind.PORTAL, "computed by this portal from the published files")


def release_path(release: Release) -> str:
    """Where the API has a release, with a tag's slashes as they are."""
    return f"{API}/releases/{release.project.name}/{quote(release.tag)}"


def is_verified(judged: JudgedBundle) -> bool:
    """Whether a bundle carries its component's attestation under the project's own policy."""
    return judged.state is AttestationState.VERIFIED


def axes_of(
    view: ReleaseView,
    standing: ReleaseStanding,
    verdict: ReleaseVerdict,
    carries: Callable[[JudgedBundle], bool] = is_verified,
) -> tuple[Axis, ...]:
    """Every condition of ``verdict``, which is the view's own or another policy's on the same evidence.

    ``carries`` says of a bundle whether it is what that policy asks for: only who signed one of these is trusted. A
    condition that nobody has said the evidence of is a mistake here, and must not pass in silence.
    """
    return tuple(
        _attested(condition, standing, verdict, carries)
        if condition.key == _ATTESTED
        else _AXES[condition.key](condition, view, verdict)
        for condition in verdict.conditions
    )


type _Maker = Callable[[Condition, ReleaseView, ReleaseVerdict], Axis]


def _files(condition: Condition, view: ReleaseView, _verdict: ReleaseVerdict) -> Axis:
    release = view.release
    sha256 = release.manifest_sha256
    link = EvidenceLink(LinkKind.MANIFEST, reverse("document", args=[sha256]), sha256)
    return Axis(condition, "", (link,), (RECOMPUTED,))


def _attested(
    condition: Condition, standing: ReleaseStanding, verdict: ReleaseVerdict, carries: Callable[[JudgedBundle], bool]
) -> Axis:
    """Where it holds, what carries it and nothing else; where it does not, every bundle that there is to look at."""
    found = [judged for component in standing.components for judged in component.bundles]
    carrying = [judged for judged in found if carries(judged)]
    shown = carrying if condition.state is ConditionState.MET else found
    links = tuple(
        EvidenceLink(LinkKind.BUNDLE, reverse("raw-bundle", args=[sha256]), sha256)
        for sha256 in sorted({judged.sighting.bundle.sha256 for judged in shown})
    )
    return Axis(condition, verdict.attestation or "", links, _signers(carrying))


def _reproduced(condition: Condition, view: ReleaseView, verdict: ReleaseVerdict) -> Axis:
    return Axis(condition, verdict.outcome or "", _rebuilt(view.results), _operators(view.results))


def _measured(condition: Condition, view: ReleaseView, _verdict: ReleaseVerdict) -> Axis:
    return Axis(condition, view.measured or "", *_by_files_and_rebuilds(view))


def _covered(condition: Condition, view: ReleaseView, _verdict: ReleaseVerdict) -> Axis:
    return Axis(condition, "", *_by_files_and_rebuilds(view))


_ATTESTED = "attested-by-expected-publisher"
_AXES: dict[str, _Maker] = {
    "files-match-manifest": _files,
    "reproduced-by-enough-operators": _reproduced,
    "measurements-recompute": _measured,
    "measurement-covers-what-boots": _covered,
    "opaque-inputs-accepted": _covered,
}


def _by_files_and_rebuilds(view: ReleaseView) -> tuple[tuple[EvidenceLink, ...], tuple[TrustAnchor, ...]]:
    """Of what follows from the published files together with what counting rebuilds saw."""
    release = EvidenceLink(LinkKind.RELEASE, release_path(view.release))
    counting = [result for result in view.results if result.counts]
    return (release, *_rebuilt(counting)), (RECOMPUTED, *_operators(counting))


def _rebuilt(results: Iterable[Result]) -> tuple[EvidenceLink, ...]:
    links = []
    for result in results:
        statement = statement_of(result.rebuild)
        links.append(EvidenceLink(LinkKind.REBUILD, f"{API}/rebuilds/{result.rebuild.pk}"))
        if statement is not None:
            name = statement.payload_sha256
            links.append(EvidenceLink(LinkKind.STATEMENT, reverse("statement-received", args=[name]), name))
    return tuple(links)


def _operators(results: Iterable[Result]) -> tuple[TrustAnchor, ...]:
    """Only those that count: nobody is trusted for a result that is no evidence."""
    signed = [(result.evidence.operator, statement_of(result.rebuild)) for result in results if result.counts]
    return tuple(
        TrustAnchor(AnchorKind.REBUILDER, operator, key=statement.key.fingerprint)
        for operator, statement in signed
        if statement is not None
    )


def _signers(bundles: Iterable[JudgedBundle]) -> tuple[TrustAnchor, ...]:
    """Who signed them, each once."""
    found = {_signer(judged) for judged in bundles if judged.finding is not None and judged.finding.signer}
    return tuple(sorted(found, key=lambda anchor: (anchor.name, anchor.identity)))


def _signer(judged: JudgedBundle) -> TrustAnchor:
    finding = judged.finding
    if finding is None:
        raise LookupError("a bundle that nobody judged has no signer")
    if not finding.trust_root:
        key = finding.signer.removeprefix("public key sha256:")
        return TrustAnchor(AnchorKind.PUBLISHER_KEY, "a plain public key", key=key, identity=finding.signer)
    return TrustAnchor(
        AnchorKind.SIGSTORE,
        finding.trust_root,
        key=finding.trust_root_sha256,
        identity=finding.signer,
        issuer=finding.issuer,
    )
