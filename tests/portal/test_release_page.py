"""The page of a release: what stands where, text from strangers, commands that can be pasted, and what it costs."""

from __future__ import annotations

import html
import itertools
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services.verdicts import record_verdict
from builds.domain.digest import Digest
from builds.domain.quoting import quoted
from builds.domain.roles import BootMode, Role
from builds.models import (
    AcceptedOpaqueInput,
    Component,
    LaunchConfiguration,
    Material,
    Measurement,
    Rebuild,
    Release,
    ReleaseEvent,
)
from builds.services import reproducing
from builds.services.evidence import view_of
from builds.services.release_events import CONTRADICTION
from tests.portal.attested import attest_all
from tests.portal.conftest import COMMIT

pytestmark = pytest.mark.django_db

MARK = '<mark title="the first character that differs">'

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]

HOSTILE = "<script>alert(1)</script>\u202egpj.exe'; touch /tmp/owned #`id`$(id)"
LONG = "refs/heads/" + "x" * 10_000


def source_of(client: Client, release: Release) -> str:
    answer = client.get(release.get_absolute_url())
    assert answer.status_code == 200
    return answer.content.decode()


def text_of(source: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", source)).split())


def section(source: str, name: str) -> str:
    """From a heading of the second level to the next."""
    found = re.search(rf'<h2 id="{name}">.*?(?=<h2 id=|</main>)', source, re.DOTALL)
    assert found is not None, name
    return found[0]


def shell_lines(source: str) -> list[str]:
    blocks = re.findall(r"<pre[^>]*>(.*?)</pre>", section(source, "reproduce"), re.DOTALL)
    return [line for block in blocks for line in html.unescape(block).splitlines()]


def test_the_page_answers_in_the_order_in_which_people_ask(client: Client, make_release: MakeRelease) -> None:
    source = source_of(client, make_release())
    names = re.findall(r'<h2 id="([a-z]+)"', source)
    assert names == [
        *("chain", "opaque", "coverage", "operators", "components", "matrix", "attestations"),
        *("reproduce", "history", "materials", "rebuilds", "facts"),
    ]
    contents = re.search(r'<nav class="contents".*?</nav>', source, re.DOTALL)
    assert contents is not None
    assert re.findall(r'href="#([a-z]+)"', contents[0]) == names
    assert source.index('id="verdict"') < source.index('<nav class="contents"') < source.index('id="chain"')


def test_every_place_that_is_linked_to_is_on_the_page_once(
    client: Client, make_release: MakeRelease, make_rebuild: MakeRebuild
) -> None:
    release = make_release()
    make_rebuild(release)
    source = source_of(client, release)
    ids = re.findall(r'\sid="([^"]+)"', source)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', source)) <= set(ids)


def test_the_verdict_is_told_first_with_each_unmet_condition_what_it_means_and_where_to_look(
    client: Client, make_release: MakeRelease, make_rebuild: MakeRebuild
) -> None:
    release = make_release()
    make_rebuild(release, changed=(Role.INITRD,))
    source = source_of(client, release)
    panel = re.search(r'<section class="panel verdict bad".*?</section>', source, re.DOTALL)
    assert panel is not None
    text = text_of(panel[0])
    assert "initrd was not: 1 operator got other bytes than were published." in text
    assert "Enough independent operators got the same bytes from the source Without that only the publisher" in text
    assert 'href="#operators"' in panel[0]
    assert 'href="#coverage"' in panel[0]
    assert "attested-by-expected-publisher" not in text


def test_other_bytes_are_shown_whole_with_the_first_differing_character_marked_and_told(
    client: Client, make_release: MakeRelease, make_rebuild: MakeRebuild
) -> None:
    release = make_release()
    rebuild = make_rebuild(release, changed=(Role.INITRD,))
    published = Component.objects.get(release=release, role=Role.INITRD).sha256
    rebuilt = rebuild.components.get(role=Role.INITRD).sha256
    place = next(place for place in range(64) if published[place] != rebuilt[place])
    source = section(source_of(client, release), "components")
    for digest in (published, rebuilt):
        marked = f"sha256:{digest[:place]}{MARK}{digest[place]}</mark>{digest[place + 1 :]}"
        assert marked in source
        assert f'data-copy="sha256:{digest}"' in source
    assert "differs from the" in source
    assert source.count("<mark") == 2
    assert f'href="/components/sha256:{published}/"' in source


def test_a_contradicting_file_is_shown_beside_what_the_manifest_says(client: Client, make_release: MakeRelease) -> None:
    release = make_release()
    Component.objects.filter(release=release, role=Role.KERNEL).update(claimed_digest=f"sha256:{'a' * 64}")
    ReleaseEvent(release=release, kind=CONTRADICTION, detail={"sentence": "kernel: another digest."}).save()
    text = text_of(section(source_of(client, release), "components"))
    assert "✓" not in text
    assert "contradicts the manifest" in text
    assert "manifest says sha256:" in text
    assert text.count("published sha") == len(Role) - 1


def test_each_launch_configuration_says_what_it_covers_and_what_it_does_not(
    client: Client, make_release: MakeRelease
) -> None:
    release = make_release()
    measurement = Measurement.objects.get(launch_configuration__release=release)
    Measurement.objects.filter(pk=measurement.pk).update(coverage=["ovmf"])
    source = section(source_of(client, release), "coverage")
    text = text_of(source)
    assert "firmware: covered" in text
    assert "kernel: not covered" in text
    assert "disk: not used by this launch configuration" in text
    assert "data disk : look at the host" in text
    assert "no counted rebuild has computed it" in text
    assert f'href="/measurements/{measurement.published}/"' in source


def test_an_accepted_opaque_input_says_who_accepted_it_when_and_one_that_is_not_comes_first(
    client: Client, make_release: MakeRelease
) -> None:
    release = make_release()
    Release.objects.filter(pk=release.pk).update(needs_registry=True, base_image=f"rust:1@sha256:{'a' * 64}")
    assert "not accepted base image" in text_of(section(source_of(client, release), "opaque"))
    AcceptedOpaqueInput.objects.create(project=release.project, sha256="a" * 64, reason="known since 2020")
    text = text_of(section(source_of(client, release), "opaque"))
    assert "accepted base image" in text
    assert "not accepted" not in text
    assert "known since 2020" in text


def test_materials_are_told_once_for_each_index_that_vouches_for_them(
    client: Client, make_release: MakeRelease
) -> None:
    release = make_release()
    for number in range(30):
        release.materials.add(
            Material.objects.create(
                sha256=f"{number:064x}",
                name=f"package{number}",
                size=1,
                authenticated=number > 0,
                authenticity="the signed index of trixie" if number else "no signed index names it",
            )
        )
    source = section(source_of(client, release), "materials")
    assert source.count("the signed index of trixie") == 1
    assert "29 (29 bytes) : the signed index of trixie" in text_of(source)
    assert source.index("no signed index names it") < source.index("the signed index of trixie")
    every = client.get(f"{release.get_absolute_url()[:-1]}/materials").text
    assert 'href="/releases/enclave/v1.0.0/materials"' in source
    assert all(f"{number:064x}" in every for number in range(30))


def test_a_tag_that_ends_like_the_list_of_materials_has_a_page_of_its_own(
    client: Client, make_release: MakeRelease
) -> None:
    make_release("v1")
    make_release("v1/materials")
    assert "<h1>enclave" in client.get("/releases/enclave/v1/materials/").text
    assert "<h1>Materials of" in client.get("/releases/enclave/v1/materials").text
    assert "<h1>Materials of" in client.get("/releases/enclave/v1/materials/materials").text
    assert client.get("/releases/enclave/v2/materials").status_code == 404


def test_an_empty_release_says_what_is_missing_and_what_to_do(client: Client, make_release: MakeRelease) -> None:
    release = make_release()
    Component.objects.all().delete()
    LaunchConfiguration.objects.all().delete()
    text = text_of(source_of(client, release))
    for told in (
        "The publication names no component.",
        "No operator has handed in a result.",
        "Ask the publisher for one.",
        "No material is known",
        "Nobody has tried yet.",
        "Nothing is recorded yet",
    ):
        assert told in text
    assert "None" not in re.sub(r"None (was found|lies|of them)", "", text)


def test_everybody_can_ask_for_a_rebuild(client: Client, make_release: MakeRelease) -> None:
    release = make_release()
    source = source_of(client, release)
    assert f'<a class="button" href="{release.get_absolute_url()}rebuild">Ask for a rebuild</a>' in source
    assert "<form" not in section(source, "rebuilds")


def make_hostile(release: Release, client: Client) -> None:
    Release.objects.filter(pk=release.pk).update(document_name=HOSTILE)
    Component.objects.filter(release=release).update(file_name=HOSTILE)
    Component.objects.filter(release=release, role=Role.KATANA).update(
        container_kind="tar.gz", member=LONG, container_size=1, container_sha256="a" * 64, container_sha384="a" * 96
    )
    LaunchConfiguration.objects.filter(release=release).update(
        command_line=HOSTILE + LONG, vcpu_type=HOSTILE[:30], not_covered=[{"what": LONG, "check": HOSTILE}]
    )
    ReleaseEvent(release=release, kind=CONTRADICTION, detail={"sentence": HOSTILE + LONG}).save()


def test_text_from_strangers_is_text_whole_and_keeps_to_its_box(
    client: Client, release: Release, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    record_verdict(release.pk)
    make_hostile(release, client)
    source = source_of(client, release)
    assert "<script>alert" not in source
    # A field that is sent again has to hold what was given; what is read has not.
    assert "\u202e" not in re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", source, flags=re.DOTALL)
    assert "x" * 10_000 in source
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", source)
    # Outside of the boxes that scroll and of what is to be copied, nothing is longer than a few lines.
    plain = re.sub(r'<bdi class="foreign long".*?</bdi>|<(pre|textarea).*?</\1>', "", source, flags=re.DOTALL)
    assert max(map(len, re.findall(r">([^<]+)<", plain))) < 4000


def test_a_hostile_release_never_becomes_a_command(
    client: Client, release: Release, domain: TrustDomain, tmp_path: Path
) -> None:
    attest_all(release, domain)
    record_verdict(release.pk)
    make_hostile(release, client)
    lines = shell_lines(source_of(client, release))
    assert len(lines) > 15
    script = "\n".join(lines)
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.stderr == ""
    # Run for its words alone: the programs that it names do nothing here.
    programs = ("curl", "printf", "sha256sum", "sha384sum", "tar", "grep", "pip", "sev-snp-measure", "gh", "cosign")
    harmless = "".join(
        f"{name}() {{ :; }}\n" for name in (*programs, "ls", "tee-portal-rebuilder", "python3", "openssl")
    )
    script = f"{harmless}{script}\necho the end"
    ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("the end\n", "")
    assert not Path("/tmp/owned").exists()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_one_word_that_is_read_back_as_it_was(text: str) -> None:
    word = quoted(text.replace("\0", ""))
    told = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert told.stdout.decode() == text.replace("\0", "")
    assert word.isprintable() or "\n" not in word


@pytest.mark.parametrize("tag", ["v1;touch${IFS}owned", "$(touch${IFS}owned)", "--portal=x", "'\"`\\", "v1|tee"])
def test_a_hostile_tag_is_one_word_of_the_rebuilders_command(make_release: MakeRelease, tag: str) -> None:
    view = view_of(Release.objects.with_evidence().get(pk=make_release(tag=tag).pk))
    (line,) = reproducing.steps_for(view, "https://portal.example", "example/enclave")[-1].lines
    words = shlex.split(line)
    assert words[:2] == ["tee-portal-rebuilder", "rebuild"]
    assert tag in words
    assert {"--portal", "https://portal.example", "--project", "enclave"} <= set(words)
    if tag.startswith("-"):
        assert words[-2:] == ["--", tag]


def test_the_steps_hash_what_the_manifest_names_and_measure_with_the_exact_values(make_release: MakeRelease) -> None:
    release = make_release()
    Component.objects.filter(release=release, role=Role.DISK).update(
        container_kind="gzip", container_size=1, container_sha256="a" * 64, container_sha384="a" * 96
    )
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    fetch, check, measure, _ = reproducing.steps_for(view, "https://portal.example", "example/enclave")
    assert (
        "curl -fsSL -o kernel.img https://github.com/example/enclave/releases/download/v1.0.0/kernel.img" in fetch.lines
    )
    katana = Digest.parse(Component.objects.get(release=release, role=Role.KATANA).claimed_digest)
    assert f"printf '%s  %s\\n' {katana.hex} katana.img | sha384sum --check" in check.lines
    assert "gzip -dc disk.img > disk.unpacked" in check.lines
    words = shlex.split(measure.lines[-1].replace("--append=", "--append "))
    value = dict(itertools.pairwise(words))
    assert (value["--vcpus"], value["--vcpu-type"], value["--append"]) == ("4", "EPYC-v4", "console=ttyS0")
    assert (value["--ovmf"], value["--kernel"], value["--initrd"]) == ("ovmf.img", "kernel.img", "initrd.img")
    assert words[-1] == view.measurements[0].evidence.published


def test_a_firmware_boot_is_measured_with_its_firmware_alone(make_release: MakeRelease) -> None:
    release = make_release()
    LaunchConfiguration.objects.filter(release=release).update(boot_mode=BootMode.UEFI_DISK, command_line="")
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    (line,) = [line for step in reproducing.steps_for(view, "https://p") for line in step.lines if "--ovmf" in line]
    assert "--kernel" not in line


def test_what_cannot_be_measured_has_no_command_for_it(make_release: MakeRelease) -> None:
    release = make_release()
    LaunchConfiguration.objects.filter(release=release).update(command_line=None)
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    assert [step.title for step in reproducing.steps_for(view, "https://p")] == [
        "Have the published files in one folder",
        "Hash them",
        "Rebuild it yourself",
    ]


def test_the_hashing_commands_pass_for_the_published_bytes_and_fail_for_others(
    make_release: MakeRelease, tmp_path: Path
) -> None:
    release = make_release()
    Component.objects.filter(release=release).exclude(role=Role.KERNEL).delete()
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    line = reproducing.steps_for(view, "https://p")[1].lines[-1]
    for content, code in (("kernel", 0), ("kernel!", 1)):
        (tmp_path / "kernel.img").write_text(content)
        ran = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == code


def test_the_newest_signed_verdict_comes_with_the_lines_for_cosign_and_openssl(
    client: Client, make_release: MakeRelease
) -> None:
    release = make_release()
    record = record_verdict(release.pk)
    assert record is not None
    assert record.key is not None
    source = section(source_of(client, release), "reproduce")
    lines = shell_lines(source + "<h2 id=")
    assert any(record.payload_sha256 in line and line.startswith("cosign verify-blob-attestation") for line in lines)
    assert any(f"/portal-keys/{record.key.fingerprint}.pub" in line for line in lines)
    assert any(line.startswith("openssl pkeyutl -verify -pubin -inkey portal.pub -rawin") for line in lines)
    assert f'open("{record.payload_sha256}.vsa.sigstore.json")' in html.unescape(source)


def test_the_cost_of_the_page_is_constant(
    client: Client,
    make_release: MakeRelease,
    make_rebuild: MakeRebuild,
    publisher: ExpectedPublisher,
    domain: TrustDomain,
) -> None:
    def queries(release: Release) -> int:
        with CaptureQueriesContext(connection) as captured:
            source_of(client, release)
        return len(captured)

    small, large = make_release("small"), make_release("large")
    for release, operators in ((small, 1), (large, 6)):
        attest_all(release, domain)
        for number in range(operators):
            make_rebuild(release, by=f"operator-{number}")
            record_verdict(release.pk)
    for number in range(60):
        large.materials.add(Material.objects.create(sha256=f"{number:064x}", name="p", size=1, authenticity="a"))
    assert COMMIT in source_of(client, large)
    assert queries(large) == queries(small) <= 21
