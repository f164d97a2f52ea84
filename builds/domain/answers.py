"""What a portal answers to rebuilders, as both sides read it; JSON names are camel case, as in what they sign."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from builds.domain.frozen import CamelCase, KeyName
from builds.domain.printable import Line, Slug

StatementName = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
PagePath = Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=1000)]
"""Where a page lies below the portal's address; it can be no other host."""


class Told(CamelCase):
    """``go-on``, or ``cancelled`` when somebody asked for the rebuild to stop."""

    answer: Line


class ListedRelease(CamelCase):
    project: Line
    tag: Line


class ListedReleases(CamelCase):
    """A page of releases; ``next`` continues the list, None at its end."""

    releases: tuple[ListedRelease, ...]
    next: int | None = None


class Enrolled(CamelCase):
    """``state`` is ``accepted`` or ``pending``; ``trial`` a judged release to show on what the machine can do."""

    operator: Slug
    rebuilder: Slug
    key: KeyName
    state: Line
    trial: ListedRelease | None = None


class Submitted(CamelCase):
    """``outcome`` is what the portal found by comparing; ``not_counted`` says why it is no evidence, "" if it is.

    That reason may quote an administrator at any length: whoever shows it cleans it.
    """

    statement: StatementName
    rebuild: Line
    address: PagePath
    outcome: Line | None = None
    not_counted: str
