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
        ("https://git.acme.example/vm.git", REPOSITORY, "https://git.acme.example/vm", "git.acme.example/vm"),
        ("https://git.acme.example/enclave", DOMAIN, "acme.example", "acme.example"),
        ("https://acme.example/enclave", DOMAIN, "Acme.Example:8443", "acme.example"),
        ("https://github.com/acme/enclave", DOMAIN, "acme.github.io", "acme.github.io"),
        ("https://gitlab.com/acme/enclave", DOMAIN, "acme.gitlab.io", "acme.gitlab.io"),
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
        ("https://git.acme.example/enclave", DOMAIN, "other.acme.example"),
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
