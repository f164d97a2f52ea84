"""Announcements that name another commit or tag than the release has: refused by name, and nothing else happens."""

from __future__ import annotations

import pytest

from builds.models import Project, Release
from tests.portal.test_publications import hinted, secret
from tests.support.publishing import files, send, shown, work
from tests.support.rows import release_row

__all__ = ["hinted", "secret"]  # fixtures of this module too

pytestmark = pytest.mark.django_db


def test_a_wrong_commit_of_a_known_release_is_refused_and_no_event_on_it(secret: str) -> None:
    send(secret, files())
    work()
    made = send(secret, files(), commit="1" * 40)
    work()
    told = shown(made)
    assert (told["state"], told["problem"]["code"]) == ("refused", "commit-misstated")
    assert not Release.objects.get().events.filter(kind="changed-since-import").exists()


@pytest.mark.parametrize("is_known", [False, True])
def test_another_tag_than_the_documents_name_is_refused_whichever_of_the_two_is_known(
    secret: str, project: Project, is_known: bool
) -> None:
    if is_known:
        release_row(project, "v77")
    made = send(secret, files(), tag="v77")
    work()
    told = shown(made)
    assert (told["state"], told["problem"]["code"]) == ("refused", "release-misnamed")
    assert Release.objects.count() == is_known
