"""Where the assets of announced releases may come from, and how they may be called."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.internet import InternetAddress
from attestations.domain.publication import (
    asset_address,
    asset_name,
    default_hosts,
    host_of_assets,
    redirected,
    refuse_colliding,
    retry_seconds,
)
from attestations.domain.publication_errors import (
    AssetAddressRefused,
    AssetAddressWithCredentials,
    AssetForeignHost,
    AssetNamesCollide,
    AssetNotHttps,
    AssetPrivateAddress,
    AssetRedirects,
)
from builds.domain.errors import PortalError, UnsafePath
from tests.attestations.test_webhook_rules import IN_DISGUISE

HOSTS = frozenset({"assets.example.org:443", "other.example.org:8443", "93.184.216.34:443"})


def test_an_address_of_a_configured_host_is_taken_apart() -> None:
    address = asset_address("https://assets.example.org/v1/vmlinuz?x=1#part", HOSTS)
    assert address == InternetAddress("https", "assets.example.org", 443, "/v1/vmlinuz?x=1", is_exempt=False)
    assert asset_address("https://OTHER.example.org:8443/a", HOSTS).where == "other.example.org:8443"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://assets.example.org:8443/a", AssetForeignHost),
        ("https://other.example.org/a", AssetForeignHost),
        ("https://evil.example/a", AssetForeignHost),
        ("https://assets.example.org.evil.example/a", AssetForeignHost),
        ("https://assets.example.org./a", AssetForeignHost),
        ("https://8.8.8.8/a", AssetForeignHost),
        ("http://assets.example.org/a", AssetNotHttps),
        ("ftp://assets.example.org/a", AssetNotHttps),
        ("file:///etc/passwd", AssetAddressRefused),
        ("https://user:secret@assets.example.org/a", AssetAddressWithCredentials),
        ("https://assets.example.org@evil.example/a", AssetAddressWithCredentials),
        ("https://evil.example\\@assets.example.org/a", AssetAddressWithCredentials),
        ("https://127.0.0.1/a", AssetPrivateAddress),
        ("https://[::1]/a", AssetPrivateAddress),
        ("https://[::ffff:10.0.0.1]/a", AssetPrivateAddress),
        ("https://169.254.169.254/latest/meta-data", AssetPrivateAddress),
        ("https://100.64.0.1/a", AssetPrivateAddress),
        ("https://[64:ff9b::a00:1]/a", AssetPrivateAddress),
        ("https://localhost/a", AssetPrivateAddress),
        ("https://assets.example.org\n/a", AssetAddressRefused),
        ("https:///a", AssetAddressRefused),
        ("//assets.example.org/a", AssetNotHttps),
        ("https://assets.example.org:99999/a", AssetAddressRefused),
        (f"https://assets.example.org/{'a' * 2000}", AssetAddressRefused),
    ],
)
def test_any_other_address_is_refused_by_name(url: str, error: type[PortalError]) -> None:
    with pytest.raises(error):
        asset_address(url, HOSTS)


def test_an_ip_address_is_a_host_like_any_other_and_private_ones_stay_refused_where_they_are_configured() -> None:
    assert asset_address("https://93.184.216.34/a", HOSTS).host == "93.184.216.34"
    with pytest.raises(AssetPrivateAddress):
        asset_address("https://10.0.0.1/a", frozenset({"10.0.0.1:443"}))


def test_only_a_configured_host_can_be_exempt() -> None:
    exempt = frozenset({"127.0.0.1:8000"})
    assert asset_address("http://127.0.0.1:8000/a", exempt, exempt).is_exempt
    with pytest.raises(AssetNotHttps):
        asset_address("http://127.0.0.1:8000/a", HOSTS, exempt)


@given(st.text(max_size=60), st.sampled_from(["https://", "http://", "", "//", "https:/", "HTTPS://"]))
def test_whatever_is_taken_is_https_and_of_a_configured_host(text: str, scheme: str) -> None:
    try:
        address = asset_address(scheme + text, HOSTS)
    except AssetAddressRefused:
        return
    assert (address.scheme, address.where in HOSTS) == ("https", True)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other.example.org:8443/b?sig=1", "other.example.org:8443/b?sig=1"),
        ("/c", "assets.example.org:443/c"),
        ("d", "assets.example.org:443/v1/d"),
        ("//other.example.org:8443/e", "other.example.org:8443/e"),
    ],
)
def test_a_redirect_is_read_against_the_address_that_answered(location: str, target: str) -> None:
    found = redirected(asset_address("https://assets.example.org/v1/a", HOSTS), location, HOSTS)
    assert found.where + found.target == target


@pytest.mark.parametrize(
    ("location", "error"),
    [
        (None, AssetRedirects),
        ("", AssetRedirects),
        ("https://evil.example/a", AssetForeignHost),
        ("http://assets.example.org/a", AssetNotHttps),
        ("https://127.0.0.1/a", AssetPrivateAddress),
        ("file:///etc/passwd", AssetAddressRefused),
        ("https://[", AssetRedirects),
        ("https://assets.example.org@evil.example/", AssetAddressWithCredentials),
    ],
)
def test_a_redirect_is_held_to_the_rules_of_the_address_itself(location: str | None, error: type[PortalError]) -> None:
    with pytest.raises(error):
        redirected(asset_address("https://assets.example.org/a", HOSTS), location, HOSTS)


def test_no_redirect_leads_from_tls_to_none_not_even_to_an_exempt_host() -> None:
    hosts = HOSTS | {"127.0.0.1:8000"}
    with pytest.raises(AssetNotHttps):
        redirected(
            asset_address("https://assets.example.org/a", hosts),
            "http://127.0.0.1:8000/a",
            hosts,
            frozenset({"127.0.0.1:8000"}),
        )


@pytest.mark.parametrize(
    ("source", "hosts"),
    [
        ("https://git.example.org/o/r.git", {"git.example.org:443"}),
        ("https://git.example.org:8443/o/r", {"git.example.org:8443"}),
        ("http://git.example.org/o/r", set()),
        ("file:///srv/source", set()),
        ("git@github.com:o/r.git", set()),
        ("", set()),
        ("https://93.184.216.34/o/r.git", {"93.184.216.34:443"}),
        ("https://127.1/o/r.git", set()),
        ("https://[/", set()),
        ("https://git.example.org:99999/", set()),
    ],
)
def test_without_configuration_assets_come_from_where_the_source_is_or_from_nowhere(
    source: str, hosts: set[str]
) -> None:
    assert default_hosts(source) == hosts


def test_a_source_on_github_brings_the_hosts_that_its_downloads_redirect_to() -> None:
    assert default_hosts("https://github.com/o/r.git") == {
        "github.com:443",
        "objects.githubusercontent.com:443",
        "release-assets.githubusercontent.com:443",
    }


@pytest.mark.parametrize("text", ["Assets.Example.org", " assets.example.org "])
def test_a_configured_host_is_kept_as_it_is_compared(text: str) -> None:
    assert host_of_assets(text) == "assets.example.org"


@pytest.mark.parametrize(
    "text", ["https://a.example", "a.example:443", "a b", "[::1]", "*.example.org", "", *IN_DISGUISE]
)
def test_what_is_no_host_is_not_configured(text: str) -> None:
    with pytest.raises(AssetAddressRefused):
        host_of_assets(text)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../manifest.json", "a/b", "/etc/passwd", "a\\b", "a\x00b", "a\nb", "a\u202eb", "e\u0301",
        "\ud800",
        "x" * 256,
    ],
)  # fmt: skip
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        asset_name(name)


@given(st.text(max_size=40))
def test_a_name_that_is_taken_stays_where_it_is_put(name: str) -> None:
    try:
        taken = asset_name(name)
    except UnsafePath:
        return
    assert taken == name
    assert name not in {"", ".", ".."}
    assert not set(name) & {"/", "\\", "\x00"}


@pytest.mark.parametrize("other", ["manifest.json", "Manifest.JSON", "\uff4danifest.json", "manifest.json "])
def test_two_names_of_which_one_could_be_taken_for_the_other_are_refused(other: str) -> None:
    with pytest.raises(AssetNamesCollide):
        refuse_colliding(["vmlinuz", "manifest.json", other])


@given(st.lists(st.text(string.ascii_lowercase, min_size=1), unique=True))
def test_different_names_do_not_collide(names: list[str]) -> None:
    refuse_colliding(names)


def test_tries_come_later_and_later() -> None:
    assert [retry_seconds(attempts) for attempts in (0, 1, 2, 3)] == [15, 15, 60, 240]
