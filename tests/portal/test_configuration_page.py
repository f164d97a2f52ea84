"""The configuration selector of the release page: form, answer, errors beside their fields, commands that work."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.domain.configuration import WantedConfiguration
from builds.domain.launch import LaunchConfiguration
from builds.domain.quoting import quoted
from builds.domain.roles import BootMode
from builds.models import Component, Measurement, Release
from builds.models import LaunchConfiguration as StoredConfiguration
from builds.services.selecting import address_of
from tests.support.firmware import forget_firmware
from tests.support.operators import MEASUREMENT
from tests.support.vm_release import COMMAND_LINE, TAG
from tests.support.vm_world import World, expected

pytestmark = pytest.mark.django_db

ADDRESS = f"/releases/katana-tee-vm/{TAG}/"


def section(client: Client, address: str, **given: str) -> str:
    """The selector's part of the page, as HTML."""
    response = client.get(f"{address}?{urlencode(given)}" if given else address)
    assert response.status_code == 200
    found = re.search(r'<section id="configuration".*?</section>', response.content.decode(), re.DOTALL)
    assert found is not None
    return found[0]


def text_of(markup: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", markup).split()))


def selected(markup: str, name: str) -> str:
    found = re.search(rf'<select [^>]*name="{name}".*?<option value="([^"]*)" selected>', markup, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def test_without_parameters_the_published_configuration_is_answered(
    client: Client, make_release: Callable[..., Release]
) -> None:
    shown = section(client, make_release().get_absolute_url())
    text = text_of(shown)
    assert f"Computed for the published command line, 4 vCPUs, EPYC-v4: {MEASUREMENT}" in text
    assert "The publisher published this value for default. Release conditions: 5 unmet. Deny." in text
    assert "attested-by-expected-publisher" in text
    assert "data disk : look at the host" in text
    assert 'value="4"' in shown
    assert selected(shown, "vcpu_type") == "EPYC-v4"
    assert 'aria-current="true">default</a> (shown)' in shown


def test_an_address_asks_for_another_configuration_and_every_field_keeps_what_was_asked(
    client: Client, world: World, firmware: Path
) -> None:
    world.imported()
    given = {"vcpus": "3", "vcpu_type": "EPYC-IBPB", "command_line": "own <b>line</b>"}
    shown = section(client, ADDRESS, **given)
    value = expected(firmware, world.root, "own <b>line</b>", vcpus=3)
    assert f'data-copy="{value}"' in shown
    text = text_of(shown)
    assert f"Computed for your command line, 3 vCPUs, EPYC-IBPB: {value}" in text
    assert "follows from the same files The publisher did not publish this value" in text
    assert text_of(shown).count("Deny: nobody vouches for its command line.") == 1
    assert "adds own, &lt;b&gt;line&lt;/b&gt; and leaves out" in shown
    assert 'value="true" checked' not in shown
    vouched = section(client, ADDRESS, **given, vouch_for_command_line="true")
    assert 'value="true" checked' in vouched
    assert text_of(vouched).count("Deny.") == 1
    assert "<b>line" not in shown
    assert selected(shown, "vcpu_type") == "EPYC-IBPB"
    assert selected(shown, "vmm") == "qemu"
    assert "own &lt;b&gt;line&lt;/b&gt;</textarea>" in shown
    assert "(shown)" not in text


def test_a_configuration_has_an_address_and_a_published_one_by_its_name(client: Client, world: World) -> None:
    release = world.imported()
    launch = LaunchConfiguration(BootMode.DIRECT_KERNEL, 9, "EPYC-Genoa", 0x21, "gce")
    address = address_of(release, WantedConfiguration(launch, "a=b&c #d"))
    assert address.endswith("#configuration")
    text = text_of(section(client, address.partition("#")[0]))
    assert "Computed for your command line, 9 vCPUs, EPYC-Genoa, guest features 0x21, gce:" in text
    assert "(shown)" in section(client, ADDRESS, configuration="sealed")
    other = section(client, ADDRESS, configuration="<i>gone")
    assert "there is no published configuration '<i>gone'" in text_of(other)
    assert "Nothing was computed" in other
    assert "<i>gone" not in other


def test_each_published_configuration_has_its_own_answer(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    firmware_only = StoredConfiguration.objects.create(
        release=release,
        name="disk",
        boot_mode=BootMode.UEFI_DISK,
        vcpus=2,
        vcpu_type="EPYC-Turin",
        guest_features=1,
        vmm="qemu",
        command_line="",
        origin="test",
    )
    Measurement.objects.create(
        launch_configuration=firmware_only, published="9" * 96, recomputed="9" * 96, coverage=["ovmf"]
    )
    shown = section(client, release.get_absolute_url(), configuration="disk")
    text = text_of(shown)
    assert f"Computed for firmware that boots a disk, 2 vCPUs, EPYC-Turin: {'9' * 96} copy not covered" in text
    assert "kernel: not covered · initrd: not covered" in text
    assert selected(shown, "boot_mode") == "uefi_disk"


def test_what_cannot_be_used_is_named_beside_its_field_and_kept(client: Client, world: World) -> None:
    world.imported()
    shown = section(client, ADDRESS, vcpus='"><script>', vcpu_type="Xeon", guest_features="0xz", command_line="a\nb")
    assert "<script" not in shown
    assert 'value="&quot;&gt;&lt;script&gt;"' in shown
    assert selected(shown, "vcpu_type") == "Xeon"
    for name, reason in (
        ("vcpus", "is no number from 1 to 512"),
        ("vcpu_type", "is none of: EPYC, EPYC-v1"),
        ("guest_features", "is no 64-bit number such as 0x1"),
        ("command_line", "a command line is one line"),
    ):
        assert re.search(rf'<p class="problem" id="configuration-{name}-problem">.*{reason}', shown)
        assert f'aria-describedby="configuration-{name}-problem"' in shown
    assert "Nothing was computed." in text_of(shown)
    assert "Compute it without this portal" not in shown
    assert 'class="state bad">deny' in shown


def test_a_release_whose_firmware_is_not_kept_says_what_to_do(client: Client, world: World) -> None:
    world.imported()
    shutil.rmtree(settings.FIRMWARE_STORE)
    forget_firmware()
    text = text_of(section(client, ADDRESS, vcpus="77"))
    assert "Not computed for the published command line, 77 vCPUs, EPYC-v4." in text
    assert "Import the release again: its firmware is kept then." in text
    assert "published The publisher published this value for sealed." in text_of(section(client, ADDRESS))


def test_a_release_without_launch_configuration_says_so_and_computes(client: Client, world: World) -> None:
    world.imported().launch_configurations.all().delete()
    text = text_of(section(client, ADDRESS))
    assert "No launch configuration was published. Choose one" in text
    assert "Computed for an empty command line, 1 vCPU, EPYC-v4:" in text
    assert text.count("Deny.") == 1


def test_without_the_published_files_there_is_no_command_to_repeat(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    release.components.filter(role="initrd").delete()
    assert "Compute it without this portal" not in section(client, release.get_absolute_url())
    other = text_of(section(client, release.get_absolute_url(), vcpus="2"))
    assert "No digest of the published initrd is known" in other


def test_a_command_line_that_nobody_published_is_asked_for(client: Client, world: World) -> None:
    del world.release.info["LUKS_UUID"]
    world.imported()
    assert "nothing published names the command line" in text_of(section(client, ADDRESS))
    assert "Computed for your command line" in text_of(section(client, ADDRESS, command_line=COMMAND_LINE))


@pytest.mark.parametrize("prefix", ["", "--to-command=touch tricked;/"])
def test_the_commands_give_the_value_that_the_page_shows(client: Client, world: World, prefix: str) -> None:
    world.release.prefix = prefix
    world.imported()
    line = "--it's \\ a 'command' \N{RIGHT-TO-LEFT OVERRIDE}line\ttab ä"
    shown = section(client, ADDRESS, vcpus="2", guest_features="0x21", vmm="ec2", command_line=line)
    assert "hidden characters" in shown
    commands = re.search(r'<pre id="configuration-commands">(.*?)</pre>', shown, re.DOTALL)
    assert commands is not None
    script = html.unescape(commands[1])
    assert script.isascii() or "\N{RIGHT-TO-LEFT OVERRIDE}" not in script
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    printed = subprocess.run(
        ["bash", "-euc", script],
        cwd=world.directories[0],
        env={"PATH": path, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert f'data-copy="{printed}"' in shown
    assert not (world.directories[0] / "tricked").exists()


def test_file_names_of_strangers_are_quoted_and_never_options(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    Component.objects.filter(release=release, role="kernel").update(file_name="--append=$(id); echo")
    Component.objects.filter(release=release, role="initrd").update(file_name="a\u202eb'c")
    shown = section(client, release.get_absolute_url())
    command = html.unescape(re.search(r'commands">(.*?)</pre>', shown, re.DOTALL)[1])  # type: ignore[index]
    assert "--kernel './--append=$(id); echo'" in command
    assert "--initrd $'a\\342\\200\\256b\\047c'" in command


@pytest.mark.parametrize("text", ["", "plain", "it's", "a\tb\\n", "\u202e'\\1", "7\x017", "ä\n"])
def test_a_shell_reads_a_word_as_it_was(text: str) -> None:
    words = subprocess.run(["bash", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True).stdout
    assert words.decode() == text
    assert quoted(text).isprintable()
    if text.isprintable():
        assert shlex.split(quoted(text)) == [text]


def test_the_selector_costs_no_query(client: Client, world: World) -> None:
    world.imported()
    counts = []
    for given in ({}, {"vcpus": "5", "command_line": "own"}, {"vcpus": "x"}):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            section(client, ADDRESS, **given)
        counts.append(len(captured))
    assert len(set(counts)) == 1


def test_a_command_line_of_ten_thousand_characters_is_refused_and_kept(client: Client, world: World) -> None:
    world.imported()
    shown = section(client, ADDRESS, command_line="\u202e" + "x" * 9_999)
    assert "the command line has 10002 bytes; 4096 can be measured here" in text_of(shown)
    assert "x" * 9_999 in shown


def test_a_measurement_of_another_vcpu_count_leads_to_the_release_that_gives_it(
    client: Client, world: World, firmware: Path
) -> None:
    release = world.imported()
    value = expected(firmware, world.root, vcpus=9)
    answer = client.get(f"/measurements/{value}/")
    assert answer.status_code == 200
    shown = text_of(answer.text)
    assert "Nobody published this value, and it follows from published files" in shown
    assert f"{release.project.name} {release.tag} with 9 vCPUs of" in shown
    link = re.search(r'<a href="([^"]+vcpus=9[^"]*)"', answer.text)
    assert link is not None
    assert value in client.get(html.unescape(link[1])).text
    assert "state good" not in answer.text.partition("<main")[2]


def test_a_measurement_that_nothing_known_gives_says_how_much_was_computed(client: Client, world: World) -> None:
    world.imported()
    answer = client.get(f"/measurements/{'a' * 96}/")
    assert answer.status_code == 404
    assert "Looked for among 1280 configurations of 1 release:" in text_of(answer.text)
    assert "this is not a mismatch" in answer.text
