"""What was asked for and is not here: one 404 for pages and API, in the reader's words."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Model, QuerySet
from django.http import Http404

from builds.domain.printable import one_line
from builds.models import Rebuild, Release

_LONGEST_IN_A_LINE = 300
_API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Sought:
    """A kind of thing that an address can name, where a page lists it, and where the API does."""

    word: str
    page_todo: str
    listing: str
    """The name of the page that lists such things."""
    api_todo: str


RELEASE = Sought(
    "release",
    "It may be misspelt, not published, or not imported here yet.",
    "releases",
    f"Look at {_API}/releases for the releases that are here.",
)
PROJECT = Sought(
    "project", "It may be misspelt, or not followed here.", "releases", f"Look at {_API}/releases for their projects."
)
REBUILD = Sought(
    "rebuild",
    "Each release lists its rebuilds; the queue shows what waits, runs and ended last.",
    "queue",
    f"Look at {_API}/releases/PROJECT/TAG for a release's rebuilds, and at {_API}/queue for the newest.",
)
OPERATOR = Sought(
    "operator",
    "It may be misspelt, or not enrolled here.",
    "operators",
    f"Look at {_API}/rebuilders for the operators.",
)
STATEMENT = Sought(
    "signed statement",
    "A statement is named by the SHA-256 of its payload; each operator's page lists what it signed.",
    "operators",
    f"Look at {_API}/rebuilders/SLUG for the statements that an operator signed.",
)
REBUILDER_KEY = Sought(
    "rebuilder's key",
    "A key is named by the SHA-256 of its SubjectPublicKeyInfo; each operator's page lists its keys.",
    "operators",
    f"Look at {_API}/rebuilders/SLUG for the keys of an operator.",
)
BUNDLE = Sought(
    "bundle",
    "A bundle is named by the SHA-256 of its bytes; each release's page lists those found for it.",
    "releases",
    f"Look at {_API}/attestations for the bundles whose claims are verified, and at {_API}/releases/PROJECT/TAG"
    " for a release's.",
)
FINDING = Sought(
    "finding",
    "A finding is named by its number; each release's page lists those of its bundles.",
    "releases",
    f"Ask {_API}/attestations without `before`, and go on from there.",
)
DIGEST = Sought(
    "file of this digest",
    "Nobody here published, rebuilt or consumed these bytes; that says nothing against them.",
    "releases",
    "Check the digest. That these bytes were never seen here says nothing for or against them.",
)
TRUST_ROOT = Sought(
    "trust root",
    "A trust root is named by the SHA-256 of its bytes; each finding on a release's page names the one it used.",
    "releases",
    f"Look at {_API}/releases/PROJECT/TAG for the trust roots that findings used.",
)
VERDICT = Sought(
    "signed verdict",
    "A signed verdict is named by the SHA-256 of its payload; each release's page lists its own.",
    "releases",
    f"Look at {_API}/verdicts/PROJECT/TAG for the signed verdicts of a release.",
)
POLICY = Sought(
    "policy",
    "A policy is named by the SHA-256 of its bytes; each signed verdict names the one it was judged by.",
    "releases",
    f"Look at {_API}/verdicts/PROJECT/TAG for the policies of a release's verdicts.",
)
PORTAL_KEY = Sought(
    "portal key",
    "A key is named by the SHA-256 of its SubjectPublicKeyInfo; each signed verdict names the one it is signed with.",
    "releases",
    f"Look at {_API}/verdicts/PROJECT/TAG for the keys of a release's verdicts, and at /portal.pub for today's.",
)
MIRRORED = Sought(
    "file of the mirror",
    "This portal may publish none, or publishes another tree by now: begin with /mirror/checkpoint.json.",
    "releases",
    "Begin with /mirror/checkpoint.json; where that is not here either, this portal publishes no mirror.",
)
DOCUMENT = Sought(
    "document",
    "A release's document is named by the SHA-256 of its bytes; each release's page names its own.",
    "releases",
    f"Look at {_API}/releases/PROJECT/TAG for the manifest_sha256 of a release.",
)
PUBLICATION = Sought(
    "publication",
    "It may be misspelt; announcing a release gives its address.",
    "releases",
    f"POST {_API}/releases answers with the address of the publication that it made.",
)
PAGE = Sought(
    "page of a list", "The number in the address is none.", "releases", f"Look at {_API}/releases for the first page."
)


class NotHere(Http404):
    """``sought`` says which kind of thing was asked for, ``asked`` by which name: text from a stranger."""

    def __init__(self, sought: Sought, asked: str) -> None:
        self.sought = sought
        self.asked = asked
        super().__init__(f"there is no {sought.word} {one_line(asked, _LONGEST_IN_A_LINE)} here")


def the_one[Row: Model](rows: QuerySet[Row], sought: Sought, asked: str) -> Row:
    """The one row; ``NotHere`` when there is none. ``rows`` are of something unique."""
    row = rows.first()
    if row is None:
        raise NotHere(sought, asked)
    return row


def the_release(rows: QuerySet[Release], project: str, tag: str) -> Release:
    return the_one(rows.filter(project__name=project, tag=tag), RELEASE, f"{project} {tag}")


def the_rebuild(rows: QuerySet[Rebuild], rebuild_id: uuid.UUID) -> Rebuild:
    return the_one(rows.filter(pk=rebuild_id), REBUILD, str(rebuild_id))
