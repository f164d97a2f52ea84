"""Who is the publisher by what both show: the same owner on a forge, or the domain that serves the source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.affiliation import shared_place
from builds.domain.requests import ProofKind

DOMAIN, REPOSITORY = ProofKind.DOMAIN, ProofKind.REPOSITORY


@pytest.mark.parametrize(
    ("source", "kind", "location", "place"),
    [
        ("https://github.com/acme/enclave", REPOSITORY, "https://github.com/acme/keys", "github.com/acme"),
        ("https://github.com/acme/enclave.git", REPOSITORY, "https://GitHub.com/ACME/keys/", "github.com/acme"),
        ("https://www.github.com/acme/enclave", REPOSITORY, "https://github.com:443/acme/keys", "github.com/acme"),
        ("git@github.com:acme/enclave.git", REPOSITORY, "https://github.com/acme/keys", "github.com/acme"),
        ("ssh://git@github.com/acme/enclave", REPOSITORY, "https://github.com/acme/keys", "github.com/acme"),
        ("https://github.com/acme/enclave", REPOSITORY, "https://github.com/x/../acme/keys", "github.com/acme"),
        ("https://github.com/acme/enclave", REPOSITORY, "https://github.com/./acme/keys", "github.com/acme"),
        ("https://github.com/x/%2e%2e/acme/enclave", REPOSITORY, "https://github.com/acme/k", "github.com/acme"),
        ("https://github.com/acme/enclave", REPOSITORY, "https://gist.github.com/acme/1f", "github.com/acme"),
        ("https://git.acme.example/vm.git", REPOSITORY, "https://git.acme.example/vm", "acme.example"),
        ("https://git.acme.example/vm.git", REPOSITORY, "https://code.acme.example/keys", "acme.example"),
        ("https://forge.example/acme/vm", REPOSITORY, "https://forge.example/acme/keys", "forge.example"),
        ("https://git.acme.example/enclave", DOMAIN, "other.acme.example", "acme.example"),
        ("https://git.acme.co.uk/enclave", DOMAIN, "www.acme.co.uk", "acme.co.uk"),
        ("https://github.com/acme/enclave", DOMAIN, "www.acme.github.io", "github.com/acme"),
        ("https://codeberg.org/acme/enclave", DOMAIN, "acme.codeberg.page", "codeberg.org/acme"),
        ("https://127.0.0.1:8000/acme", DOMAIN, "127.0.0.1", "127.0.0.1"),
        ("https://git.acme.example/enclave", DOMAIN, "acme.example", "acme.example"),
        ("https://acme.example/enclave", DOMAIN, "Acme.Example:8443", "acme.example"),
        ("https://github.com/acme/enclave", DOMAIN, "acme.github.io", "github.com/acme"),
        ("https://gitlab.com/acme/enclave", DOMAIN, "acme.gitlab.io", "gitlab.com/acme"),
    ],
)
def test_who_writes_where_the_source_is_published_is_the_publisher(
    source: str, kind: ProofKind, location: str, place: str
) -> None:
    assert shared_place(source, kind, location) == place


@pytest.mark.parametrize(
    ("source", "kind", "location"),
    [
        ("https://github.com/acme/enclave", REPOSITORY, "https://github.com/ada/keys"),
        ("https://github.com/acme/enclave", REPOSITORY, "https://gitlab.com/acme/keys"),
        ("https://github.com/acme/enclave", REPOSITORY, "https://github.com.example/acme/keys"),
        ("https://github.com/acme/enclave", DOMAIN, "ada.github.io"),
        ("https://github.com/acme/enclave", DOMAIN, "acme.example"),
        ("https://github.com/acme/enclave", DOMAIN, "github.io"),
        ("https://github.com/acme/enclave", DOMAIN, "acme.gitlab.io"),
        ("https://github.com/", REPOSITORY, "https://github.com/acme/keys"),
        ("https://forge.example/acme/vm", REPOSITORY, "https://forge.example/ada/keys"),
        ("https://git.acme.co.uk/enclave", DOMAIN, "ada.co.uk"),
        ("https://127.0.0.1:8000/acme", DOMAIN, "10.1.0.1"),
        ("https://notacme.example/enclave", DOMAIN, "acme.example"),
        ("file:///srv/enclave", REPOSITORY, "https://github.com/srv/enclave"),
        ("/srv/enclave", DOMAIN, "acme.example"),
        ("https://[half/acme", REPOSITORY, "https://github.com/acme/keys"),
        ("", DOMAIN, "acme.example"),
    ],
)
def test_others_are_not(source: str, kind: ProofKind, location: str) -> None:
    assert shared_place(source, kind, location) == ""


@given(st.text(max_size=60), st.sampled_from(ProofKind), st.text(max_size=60))
def test_no_address_however_odd_is_an_error(source: str, kind: ProofKind, location: str) -> None:
    shared_place(source, kind, location)
