"""Releases in the database without building anything: rows as an import and a rebuild leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services import trust_roots
from builds.demo.github_server import GitHubServer, PublishedRelease, RepositoryDescription
from builds.models import Project, Rebuild, Release
from builds.services.projects import keep_recipe
from tee_portal import kept_answers
from tests.portal.mirroring import Mirror
from tests.portal.operations_of_tests import Making
from tests.support import rows
from tests.support.forge import REPOSITORY, Forge
from tests.support.receivers import Behaviour, Receiver, receiver
from tests.support.sources import make_bare_repository
from tests.support.vm_release import TAG, VmRelease
from tests.support.vm_world import EXAMPLE, World, expected

COMMIT = rows.COMMIT
ROOT_NAME = "local-demo-trust-root"


@pytest.fixture
def project(db: None) -> Project:
    return Project.objects.create(name="enclave", source_url="file:///nowhere")


@pytest.fixture
def make_release(project: Project) -> Callable[..., Release]:
    """A release whose five components have the bytes of their role's name."""

    def make(tag: str = "v1.0.0", contradiction: str = "") -> Release:
        return rows.release_row(project, tag, contradiction)

    return make


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write rows themselves, without telling that evidence changed, and ask at once whether that is seen."""
    caches["verdicts"].clear()
    kept_answers.forget()
    monkeypatch.setattr(kept_answers, "UNASKED_SECONDS", 0.0)


@pytest.fixture
def making_lock(monkeypatch: pytest.MonkeyPatch) -> Making:
    made = Making()
    monkeypatch.setattr(kept_answers, "_making_of", lambda _key: made)
    return made


@pytest.fixture
def make_rebuild() -> Callable[..., Rebuild]:
    """A rebuild with the release's own bytes, except for the roles in ``changed``, signed and handed in."""
    return rows.rebuilt


@pytest.fixture
def world(db: None, tmp_path: Path, firmware: Path) -> World:
    repository = make_bare_repository(tmp_path / "source", TAG)
    project = Project.objects.create(name="katana-tee-vm", source_url=repository.url)
    keep_recipe(project, EXAMPLE.read_text(), "Ada")
    release = VmRelease(firmware=firmware.read_bytes(), measurement=expected(firmware, tmp_path))
    return World(tmp_path, repository, project, release)


@pytest.fixture(scope="session")
def domain() -> TrustDomain:
    return TrustDomain()


@pytest.fixture
def publisher(make_release: Callable[..., Release], domain: TrustDomain) -> ExpectedPublisher:
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    return ExpectedPublisher.objects.create(
        project=make_release("v0").project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )


@pytest.fixture
def release(publisher: ExpectedPublisher, make_release: Callable[..., Release]) -> Release:
    return make_release("v1.0.0")


@pytest.fixture
def forge(tmp_path: Path, firmware: Path) -> Iterator[Forge]:
    repository = make_bare_repository(tmp_path / "source", TAG)
    measured = expected(firmware, tmp_path)
    directory = VmRelease(firmware=firmware.read_bytes(), measurement=measured).write(tmp_path / "published")
    commit = repository.commit
    published = PublishedRelease(
        TAG, commit, datetime(2026, 3, 4, tzinfo=UTC), {path.name: path for path in directory.iterdir()}, annotated=True
    )
    description = RepositoryDescription(REPOSITORY, 100001, 200002, [published])
    with GitHubServer(description) as server:
        yield Forge(server, repository.url, commit, directory)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "mirror", tmp_path / "beside")


@pytest.fixture
def owner(db: None) -> User:
    """An account that can have webhooks."""
    return User.objects.create_user("ada")


@pytest.fixture
def listening(settings: Any) -> Callable[..., Any]:
    """A receiver that webhooks may reach."""

    @contextmanager
    def listen(*behaviours: Behaviour) -> Iterator[Receiver]:
        with receiver(*behaviours) as it:
            hosts = [host for host in [settings.ENVIRONMENT.webhook_insecure_hosts, it.host] if host]
            settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"webhook_insecure_hosts": ",".join(hosts)})
            yield it

    return listen
