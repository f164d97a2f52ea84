"""A project: who is expected to publish it, by which policy it is judged, and how its versions stand."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from attestations.domain.publication import PublicationState
from attestations.models import ExpectedPublisher, Following, ProjectPublisher, Publication
from attestations.services import strip
from attestations.services.announcing import hosts_of
from attestations.services.publishers import policy_of, public_keys
from builds.domain.errors import PortalError
from builds.models import AcceptedOpaqueInput, Affiliation, Project
from builds.services.absent import PROJECT, NotHere


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that is asked of whoever signs, and what is expected; any would do where that is empty."""

    what: str
    expected: str


SHOWN_ANNOUNCED = 10
_TONES = {PublicationState.IMPORTED: "plain", PublicationState.REFUSED: "bad"}


@dataclass(frozen=True, slots=True)
class AnnouncedRow:
    """An announced release and how its state looks: that one was imported says nothing good of it."""

    publication: Publication

    @property
    def tone(self) -> str:
        return _TONES.get(PublicationState(self.publication.state), "open")


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """``publisher`` is empty while nobody is expected; ``problem`` says why its keys cannot be read ("" otherwise)."""

    project: Project
    releases: int
    publisher: tuple[Expectation, ...]
    missing: tuple[str, ...]
    """What an expected publisher must name, and this one does not: until then nothing is verified."""
    problem: str
    accepted: tuple[AcceptedOpaqueInput, ...]
    ties: tuple[Affiliation, ...]
    following: Following | None
    strip: strip.Strip | None
    announced: tuple[AnnouncedRow, ...]
    """Releases that were announced, the newest first."""
    announcers: int
    """How many accounts may announce them, beside the portal's staff."""
    asset_hosts: tuple[str, ...]
    """From where what they announce is fetched, ``host:port`` each."""


def project_page(name: str) -> ProjectPage:
    """A project by its name; 404 when there is none."""
    project = Project.objects.annotate(release_count=Count("releases")).filter(name=name).first()
    if project is None:
        raise NotHere(PROJECT, name)
    publisher = ExpectedPublisher.objects.filter(project=project).first()
    expected, missing, problem = _expected(publisher)
    return ProjectPage(
        project=project,
        releases=project.release_count,
        publisher=expected,
        missing=missing,
        problem=problem,
        accepted=tuple(project.accepted_opaque_inputs.order_by("-accepted_at", "-pk")),
        ties=tuple(project.affiliations.select_related("operator")),
        following=Following.objects.filter(project=project).first(),
        strip=strip.strips_of([project.pk]).get(project.pk),
        announced=tuple(
            AnnouncedRow(row)
            for row in Publication.objects.filter(project=project).select_related("release__project")[:SHOWN_ANNOUNCED]
        ),
        announcers=ProjectPublisher.objects.filter(project=project, account__is_active=True).count(),
        asset_hosts=tuple(sorted(hosts_of(project).allowed)),
    )


def _expected(publisher: ExpectedPublisher | None) -> tuple[tuple[Expectation, ...], tuple[str, ...], str]:
    if publisher is None:
        return (), (), ""
    try:
        keys = public_keys(publisher)
        problem = ""
    except PortalError as error:
        keys, problem = [], f"{error.what} ({error.where}). {error.todo}"
    policy = policy_of(publisher, keys)
    rows = (
        ("source repository", policy.repository),
        ("workflow", policy.workflow),
        ("ref", policy.ref),
        ("build signer", policy.build_signer or "the workflow itself"),
        ("issuer of the certificate", policy.issuer),
        ("runner", policy.runner_environment),
        ("repository id", policy.repository_id),
        ("owner id", policy.owner_id),
        ("name in the certificate", policy.san),
        ("kinds of statement", ", ".join(policy.predicate_types)),
        ("public keys", ", ".join(f"sha256:{key}" for key in policy.keys)),
        ("trust roots", ", ".join(publisher.trust_roots)),
    )
    expected = tuple(Expectation(what, said) for what, said in rows if said)
    return expected, tuple(policy.missing), problem
