"""What a portal answers to rebuilders, as both sides read it; JSON names are camel case, as in what they sign."""

from __future__ import annotations

from builds.domain.frozen import CamelCase


class Told(CamelCase):
    """``go-on``, or ``cancelled`` when somebody asked for the rebuild to stop."""

    answer: str


class ListedRelease(CamelCase):
    project: str
    tag: str


class ListedReleases(CamelCase):
    """A page of releases; ``next`` continues the list, None at its end."""

    releases: tuple[ListedRelease, ...]
    next: int | None = None


class Enrolled(CamelCase):
    """``state`` is ``accepted`` or ``pending``; ``trial`` a judged release to show on what the machine can do."""

    operator: str
    rebuilder: str
    key: str
    state: str
    trial: ListedRelease | None = None


class Submitted(CamelCase):
    """``outcome`` is what the portal found by comparing; ``not_counted`` says why it is no evidence, "" if it is."""

    statement: str
    rebuild: str
    address: str
    outcome: str | None = None
    not_counted: str
