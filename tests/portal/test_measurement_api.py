"""The API's answers about launch measurements: never allowed by less than the release and the value itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from attestations.local_sigstore import TrustDomain
from builds.domain.roles import BootMode, Role
from builds.models import Component, Measurement, Project, Rebuild, Release
from builds.pipeline.measurement import Firmware
from builds.services import configurations, measurement_index, measurement_lookup
from builds.services.measurement_page import MOST_RELEASES
from tests.portal.attested import attest_all
from tests.portal.test_configurations import wanted
from tests.portal.test_measurement_index import value_of
from tests.support.firmware import forget_firmware
from tests.support.operators import MEASUREMENT
from tests.support.rows import release_row
from tests.support.vm_world import World

pytestmark = pytest.mark.django_db
LINE = "console=ttyS0"


def asked(client: Client, value: str, **expected: str) -> Any:
    return client.get(f"/api/v1/measurements/{value}", expected)


def asked_of(client: Client, release: Release, value: str) -> Any:
    return asked(client, value, project=release.project.name)


def recomputed(client: Client, release: Release, **given: object) -> Any:
    body = {"project": release.project.name, "tag": release.tag, **given}
    return client.post("/api/v1/measurements/recompute", body, content_type="application/json")


@pytest.fixture
def allowed(
    release: Release,
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
    firmware: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Release:
    """An allowed release that further values can be computed for."""
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    kept = Firmware(firmware)
    monkeypatch.setattr(configurations, "kept_firmware", lambda digest: kept)
    forget_firmware()
    measurement_index.fill(release.pk)
    return release


def test_a_published_value_of_an_allowed_release_is_allowed(client: Client, allowed: Release) -> None:
    answer = asked_of(client, allowed, MEASUREMENT)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["decision"], found["measurement"]) == ("allow", MEASUREMENT)
    # The other release has the same published value, and nobody rebuilt it.
    newest, older = found["given_by"]
    assert (newest["tag"], newest["configuration_name"], newest["is_default"]) == ("v1.0.0", "default", True)
    assert (newest["decision"], newest["unmet"], newest["differs_in"]) == ("allow", [], [])
    assert newest["configuration"]["vcpu_types"] == ["EPYC", "EPYC-v1", "EPYC-v2", "EPYC-IBPB", "EPYC-v3", "EPYC-v4"]
    assert newest["configuration"]["cpu_signature"] == "0x00800f12"
    assert (older["tag"], older["decision"]) == ("v0", "deny")
    assert "reproduced" in " ".join(entry["condition"] for entry in older["unmet"])


def test_without_the_expected_project_nothing_is_allowed_at_the_top(client: Client, allowed: Release) -> None:
    """Whose image it is only the asker can say: another project's may give the same value and be allowed."""
    found = asked(client, MEASUREMENT).json()
    assert (found["decision"], found["given_by"][0]["decision"]) == ("deny", "allow")
    (why,) = found["unmet"]
    assert (why["condition"], why["state"]) == ("expected-project-named", "unmet")
    assert "?project=NAME" in why["reason"]


def test_an_expected_project_and_tag_leave_nothing_of_others_in_the_answer(client: Client, allowed: Release) -> None:
    other = Project.objects.create(name="strangers", source_url="file:///elsewhere")
    release_row(other, "v1.0.0")
    theirs = asked(client, MEASUREMENT, project="strangers").json()
    assert (theirs["decision"], [entry["project"] for entry in theirs["given_by"]]) == ("deny", ["strangers"])
    assert [entry["condition"] for entry in theirs["unmet"]] == ["configuration-allowed"]
    own = asked(client, MEASUREMENT, project="enclave", tag="v1.0.0")
    assert (own.json()["decision"], own.json()["unmet"], len(own.json()["given_by"])) == ("allow", [], 1)
    assert "strangers" not in own.text
    older = asked(client, MEASUREMENT, project="enclave", tag="v0").json()
    assert (older["decision"], len(older["given_by"])) == ("deny", 1)


def test_a_value_of_another_project_alone_is_404_and_no_near_miss_of_the_expected_one(
    client: Client, allowed: Release
) -> None:
    Project.objects.create(name="strangers", source_url="file:///elsewhere")
    answer = asked(client, MEASUREMENT, project="strangers")
    assert (answer.status_code, answer.json()["decision"], answer.json()["nearest"]) == (404, "deny", [])
    assert "enclave" not in answer.text


@pytest.mark.parametrize(
    ("expected", "status", "code"),
    [
        ({"project": "none-such"}, 404, "not-found"),
        ({"project": "enclave", "tag": "none-such"}, 404, "not-found"),
        ({"tag": "v1.0.0"}, 422, "tag-without-project"),
    ],
)
def test_what_is_expected_and_is_not_here_is_refused_by_name_and_denied(
    client: Client, allowed: Release, expected: dict[str, str], status: int, code: str
) -> None:
    answer = asked(client, MEASUREMENT, **expected)
    assert (answer.status_code, answer.json()["code"], answer.json()["decision"]) == (status, code, "deny")


def test_another_projects_many_releases_neither_hide_a_release_nor_change_what_is_said_of_it(
    client: Client, allowed: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement_lookup, "MOST_OF_A_PROJECT", 3)
    monkeypatch.setattr(measurement_lookup, "MOST_RELEASES", 5)

    def told() -> dict[str, Any]:
        found: dict[str, Any] = next(entry for entry in asked(client, MEASUREMENT).json()["given_by"] if is_it(entry))
        return found

    def is_it(entry: dict[str, Any]) -> bool:
        return bool(entry["project"] == "enclave" and entry["tag"] == "v1.0.0")

    alone, of_its_project = told(), asked_of(client, allowed, MEASUREMENT).json()
    other = Project.objects.create(name="strangers", source_url="file:///elsewhere")
    for number in range(8):
        release_row(other, f"v{number}")
    assert told() == alone
    assert asked_of(client, allowed, MEASUREMENT).json() == of_its_project
    assert asked(client, MEASUREMENT).json()["more"] is True


def test_a_release_that_only_the_index_is_asked_for_is_still_the_published_one(
    client: Client, allowed: Release, make_release: Callable[..., Release]
) -> None:
    """More releases of the same files than a page shows."""
    for number in range(MOST_RELEASES + 1):
        make_release(f"again-{number}")
    found = asked(client, MEASUREMENT, project="enclave").json()
    (own,) = (entry for entry in found["given_by"] if entry["tag"] == "v1.0.0")
    assert (own["is_default"], own["configuration_name"]) == (True, "default")
    assert set(own["said_by"].values()) == {"this value"}


def test_a_page_shows_every_projects_newest_before_anothers_second(client: Client, allowed: Release) -> None:
    other = Project.objects.create(name="many", source_url="file:///nowhere")
    for number in range(MOST_RELEASES + 1):
        release_row(other, f"v{number}")
    shown = client.get(f"/measurements/{MEASUREMENT}/").text
    assert f'href="{allowed.get_absolute_url()}"' in shown


def test_another_vcpu_count_of_an_allowed_release_is_a_hit_and_labelled(client: Client, allowed: Release) -> None:
    found = asked_of(client, allowed, value_of(allowed, wanted(2, command_line=LINE))).json()
    (giver,) = found["given_by"]
    assert (found["decision"], giver["decision"], giver["is_default"]) == ("allow", "allow", False)
    assert (giver["differs_in"], giver["configuration_name"]) == (["vcpus"], None)
    assert giver["configuration"]["vcpus"] == 2
    assert giver["coverage"] == ["cmdline", "initrd", "kernel", "ovmf"]
    assert giver["not_covered"] == [{"what": "data disk", "check": "look at the host"}]


@pytest.mark.parametrize(
    ("line", "decision", "key"),
    [
        (f"{LINE} init=/bin/sh", "deny", "configuration-starts-the-images-init"),
        (f"{LINE} trust=all", "deny", "configuration-command-line-known"),
        (f"{LINE} quiet", "allow", None),
    ],
)
def test_a_command_line_of_another_release_is_found_and_judged_as_recompute_judges_it(
    client: Client, allowed: Release, make_release: Callable[..., Release], line: str, decision: str, key: str | None
) -> None:
    sibling = make_release("v6.6.6")
    assert sibling.project == allowed.project
    sibling.launch_configurations.update(command_line=line)
    measurement_index.fill(allowed.pk)
    value = value_of(allowed, wanted(4, command_line=line))
    found = asked(client, value, project=allowed.project.name, tag=allowed.tag).json()
    (giver,) = found["given_by"]
    assert (found["decision"], giver["decision"]) == (decision, decision)
    assert (giver["is_default"], giver["differs_in"]) == (False, ["command_line"])
    assert [entry["condition"] for entry in giver["unmet"]] == ([key] if key is not None else [])
    assert recomputed(client, allowed, command_line=line).json()["decision"] == decision


def test_guest_features_of_another_release_are_found_and_deny(
    client: Client, allowed: Release, make_release: Callable[..., Release]
) -> None:
    make_release("v6.6.6").launch_configurations.update(guest_features=0x21)
    measurement_index.fill(allowed.pk)
    value = value_of(allowed, wanted(4, command_line=LINE, guest_features=0x21))
    (giver,) = asked(client, value, project=allowed.project.name, tag=allowed.tag).json()["given_by"]
    again = recomputed(client, allowed, guest_features="0x21").json()
    for found in (giver, again):
        assert found["decision"] == "deny"
        (why,) = found["unmet"]
        assert (why["condition"], why["state"]) == ("configuration-guest-features-known", "unknown")
    refused = recomputed(client, allowed, guest_features="0xffffffffffffffff")
    assert (refused.status_code, refused.json()["code"]) == (400, "unusable-value")


def test_firmware_alone_is_denied_however_good_the_release_is(client: Client, allowed: Release) -> None:
    found = asked_of(
        client, allowed, value_of(allowed, wanted(4, boot_mode=BootMode.UEFI_DISK, command_line=""))
    ).json()
    (giver,) = found["given_by"]
    assert (found["decision"], giver["decision"]) == ("deny", "deny")
    assert [entry["condition"] for entry in giver["unmet"]] == ["configuration-covers-what-boots"]


def test_a_contradiction_denies_every_configuration_at_once(
    client: Client, allowed: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    value = value_of(allowed, wanted(2, command_line=LINE))
    assert asked_of(client, allowed, value).json()["decision"] == "allow"
    make_rebuild(allowed, by="cedar", changed=(Role.INITRD,))
    assert asked_of(client, allowed, value).json()["decision"] == "deny"


def test_a_warm_answer_is_one_statement_and_304_while_it_is_the_same(client: Client, allowed: Release) -> None:
    value = value_of(allowed, wanted(2, command_line=LINE))
    first = asked(client, value)
    with CaptureQueriesContext(connection) as captured:
        again = client.get(f"/api/v1/measurements/{value}", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, len(captured)) == (304, 1)
    assert first["Cache-Control"] == "public, max-age=5"


def test_a_value_that_the_index_and_the_publisher_tell_apart_is_denied(client: Client, allowed: Release) -> None:
    """For four processors something else was published than these files give."""
    found = asked_of(client, allowed, value_of(allowed, wanted(4, command_line=LINE))).json()
    (giver,) = found["given_by"]
    assert giver["decision"] == "deny"
    assert [entry["condition"] for entry in giver["unmet"]] == ["value-given-by-published-files"]


@pytest.mark.parametrize("written", ["0x{}", " {} ", "{}\n"])
def test_a_value_is_taken_however_it_is_written(client: Client, allowed: Release, written: str) -> None:
    address = written.format(MEASUREMENT.upper()).replace(" ", "%20").replace("\n", "%0A")
    assert asked(client, address).json()["measurement"] == MEASUREMENT


def test_an_unknown_value_is_denied_and_no_mismatch(client: Client, allowed: Release) -> None:
    known = value_of(allowed, wanted(2, command_line=LINE))
    answer = asked(client, MEASUREMENT[:-1] + ("0" if MEASUREMENT[-1] != "0" else "1"))
    assert answer.status_code == 404
    told = answer.json()
    assert told["decision"] == "deny"
    assert "not among the configurations indexed; this is not a mismatch" in str(told)
    assert [entry["value"] for entry in told["nearest"]] == [MEASUREMENT]
    assert told["recompute"]["address"].endswith("/api/v1/measurements/recompute")
    assert known not in str(told)


@example_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=200).filter(lambda text: "\0" not in text and text.strip("./") == text))
def test_no_text_is_ever_allowed_or_breaks_it(client: Client, db: None, text: str) -> None:
    answer = asked(client, quote(text, safe=""))
    assert answer.status_code in {400, 404, 422}
    assert '"allow"' not in answer.content.decode()


def test_a_lookup_costs_the_same_however_many_releases_give_the_value(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release("v1")
    make_release("v2")
    with CaptureQueriesContext(connection) as two:
        asked(client, MEASUREMENT)
    for number in range(3, 12):
        make_release(f"v{number}")
    with CaptureQueriesContext(connection) as eleven:
        assert len(asked(client, MEASUREMENT).json()["given_by"]) == 11
    assert len(eleven) == len(two) <= 18


def test_recompute_of_nothing_but_the_release_is_its_published_configuration(client: Client, allowed: Release) -> None:
    found = recomputed(client, allowed).json()
    assert (found["decision"], found["measurement"], found["standing"]) == ("allow", MEASUREMENT, "published")
    assert found["inputs"]["kernel"].startswith("sha256:")


def test_recompute_with_an_own_command_line_says_who_vouches_for_it(client: Client, allowed: Release) -> None:
    line = f"{LINE} luks=6f6b5a5e-0d8f-4a55-9d0e-3a1b8f7f9c11"
    own = {"command_line": line, "vcpus": 8, "vcpu_type": "EPYC-Milan"}
    denied = recomputed(client, allowed, **own).json()
    assert (denied["decision"], denied["standing"]) == ("deny", "follows from the same files")
    (unmet,) = denied["unmet"]
    assert (unmet["condition"], unmet["state"]) == ("configuration-command-line-known", "unknown")
    assert "vouch_for_command_line" not in denied["page"]
    assert recomputed(client, allowed, **own, vouch_for_command_line=False).json() == denied
    assert recomputed(client, allowed, **own, vouch_for_command_line="true").status_code == 422
    found = recomputed(client, allowed, **own, vouch_for_command_line=True).json()
    assert "vouch_for_command_line=true" in found["page"]
    assert found["measurement"] == value_of(allowed, wanted(8, "EPYC-Milan", line))
    assert (found["decision"], found["standing"]) == ("allow", "follows from the same files")
    assert "Nobody but you vouches for this command line." in found["sentence"]
    assert found["configuration"]["command_line"] == line


def test_recompute_names_what_is_unmet_for_exactly_that_configuration(
    client: Client, allowed: Release, make_rebuild: Callable[..., Rebuild]
) -> None:
    found = recomputed(client, allowed, boot_mode="uefi_disk").json()
    assert (found["decision"], found["coverage"]) == ("deny", ["ovmf"])
    assert [entry["condition"] for entry in found["unmet"]] == ["configuration-covers-what-boots"]
    assert found["inputs"]["kernel"] is None


@pytest.mark.parametrize(
    "given",
    [
        {"vcpus": 0},
        {"vcpus": 513},
        {"vcpu_type": "Pentium"},
        {"guest_features": "0x2"},
        {"guest_features": "0x1" + "0" * 17},
        {"command_line": "a\nb"},
        {"command_line": "a\0b"},
        {"command_line": "x" * 5000},
        {"configuration": "none such"},
        {"vmm": "bhyve"},
        {"surprise": 1},
        {"vcpus": True},
        {"vcpus": "4"},
    ],
)
def test_recompute_refuses_what_it_cannot_use_by_name(client: Client, release: Release, given: dict[str, Any]) -> None:
    answer = recomputed(client, release, **given)
    assert answer.status_code in {400, 422}
    assert set(answer.json()) >= {"code", "what", "where", "todo"}
    assert "allow" not in answer.json()


def test_recompute_without_the_firmware_is_denied_and_unknown(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    Component.objects.filter(release=release).update(sha256="1" * 64)
    Measurement.objects.update(recomputed="")
    found = recomputed(client, release).json()
    assert (found["decision"], found["measurement"], found["standing"]) == ("deny", None, "not computed")
    assert {"condition": "configuration-recomputes", "state": "unknown"}.items() <= found["unmet"][-1].items()


def test_a_real_release_answers_for_what_its_files_give(client: Client, world: World) -> None:
    release = world.imported()
    found = asked(client, value_of(release, wanted(5, "EPYC-Genoa"))).json()
    (giver,) = found["given_by"]
    assert (giver["tag"], giver["configuration"]["vcpus"]) == (release.tag, 5)
    assert (found["decision"], giver["differs_in"]) == ("deny", ["vcpus", "vcpu_type"])
