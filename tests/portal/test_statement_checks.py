"""The commands on a statement's page check it without the portal: run as they stand, and held against the documents."""

from __future__ import annotations

import html
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.models import Operator, RebuilderKey, Release, StoredStatement
from builds.pipeline.signing import FileSigner, KeyAlgorithm
from tee_portal.env import BASE_DIR
from tests.support.attacks import hand_in
from tests.support.operators import digests, new_signer, operator_named, result_of
from tests.support.statements import encoded

pytestmark = pytest.mark.django_db

DOCUMENT = BASE_DIR / "docs" / "predicates" / "verification-summary.md"


def enrolled(algorithm: KeyAlgorithm) -> FileSigner:
    """A second key of ada's, of this algorithm."""
    operator_named("ada")
    signer = new_signer(algorithm)
    RebuilderKey.objects.create(
        rebuilder=Operator.objects.get(slug="ada").rebuilders.get(),
        fingerprint=signer.public.fingerprint,
        algorithm=signer.public.algorithm,
        pem=signer.public.pem,
        accepted_at="2026-01-01T00:00:00Z",
    )
    return signer


def stored(release: Release, algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256) -> StoredStatement:
    signer = enrolled(algorithm)
    document = result_of(release, signer.public.name)
    assert hand_in(signer.sign(IN_TOTO_PAYLOAD, encoded(document)).as_bytes()).status_code == 201
    return StoredStatement.objects.get()


def commands(client: Client, statement: StoredStatement) -> list[str]:
    """What the page's boxes hold, as a reader copies it: fetching, cosign, openssl."""
    text = client.get(statement.get_absolute_url()).text
    found = [html.unescape(part) for part in re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)]
    assert [part.split()[0] for part in found] == ["curl", "cosign", "python3"]
    return found


def fetch(client: Client, folder: Path, curl: str) -> None:
    """Fetch what the curl commands name, under the names that curl -O gives."""
    addresses = re.findall(r"http://testserver(/\S+)", curl)
    assert len(addresses) == 2
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        (folder / address.rsplit("/", 1)[1]).write_bytes(answer.content)


def pasted(folder: Path, text: str, *, programs: Path | None = None) -> int:
    path = f"{programs}:{os.environ['PATH']}" if programs is not None else os.environ["PATH"]
    return subprocess.run(
        ["bash", "-euc", text],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        check=False,
        timeout=60,
    ).returncode


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_the_commands_for_openssl_accept_the_statement_and_nothing_else(
    client: Client, make_release: Callable[..., Release], tmp_path: Path, algorithm: KeyAlgorithm
) -> None:
    statement = stored(make_release(), algorithm)
    curl, _, openssl = commands(client, statement)
    fetch(client, tmp_path, curl)
    assert pasted(tmp_path, openssl) == 0
    summed = subprocess.run(["sha256sum", tmp_path / "statement.json"], capture_output=True, text=True, check=True)
    assert summed.stdout.split()[0] == statement.payload_sha256
    (key,) = tmp_path.glob("*.pub")
    key.write_text(new_signer(algorithm).public.pem)
    assert pasted(tmp_path, openssl) != 0


@pytest.mark.slow
@pytest.mark.archive
@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_the_command_for_cosign_accepts_the_rebuilt_bytes_and_nothing_else(
    client: Client, make_release: Callable[..., Release], tmp_path: Path, cosign: Path, algorithm: KeyAlgorithm
) -> None:
    release = make_release()
    curl, command, _ = commands(client, stored(release, algorithm))
    fetch(client, tmp_path, curl)
    (role, *_) = release.recipe_roles
    (tmp_path / "FILE").write_text(role)
    assert pasted(tmp_path, command, programs=cosign.parent) == 0
    named = command.replace("FILE", f"--digest {digests(role)['sha256']} --digestAlg sha256")
    assert pasted(tmp_path, named, programs=cosign.parent) == 0
    (tmp_path / "FILE").write_text(f"{role}, changed")
    assert pasted(tmp_path, command, programs=cosign.parent) != 0
    (tmp_path / "FILE").write_text(role)
    (key,) = tmp_path.glob("*.pub")
    key.write_text(new_signer(algorithm).public.pem)
    assert pasted(tmp_path, command, programs=cosign.parent) != 0


def test_the_commands_are_those_of_the_documents_with_the_names_of_this_statement(
    client: Client, make_release: Callable[..., Release]
) -> None:
    statement = stored(make_release())
    _, cosign, openssl = commands(client, statement)
    documented = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names = {
        "bundle.json": f"{statement.payload_sha256}.rebuild.sigstore.json",
        "portal.pub": f"{statement.payload_sha256}.rebuild.pub",
        "https://slsa.dev/verification_summary/v1": "https://slsa.dev/provenance/v1",
        "vmlinuz": "FILE",
    }
    for ours, theirs in zip((cosign, openssl), documented, strict=True):
        wanted = theirs
        for name, ours_instead in names.items():
            wanted = wanted.replace(name, ours_instead)
        assert ours.split() == wanted.split()


def test_each_rebuilt_component_is_named_by_the_digest_that_cosign_takes_for_it(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    shown = client.get(stored(release).get_absolute_url()).text
    for role in release.recipe_roles:
        wanted = f'{role}: <span class="digest">--digest {digests(role)["sha256"]} --digestAlg sha256</span>'
        assert wanted in shown
