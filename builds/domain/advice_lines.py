"""The lines that advice is given with: workflow steps, recipe and document parts, commands; with the real names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from builds.domain.comparison import PublishedComponent
from builds.domain.digest import Digest
from builds.domain.evidence import OpaqueInput
from builds.domain.manifest import COMPONENT_KEYS, MEASUREMENT_FILE
from builds.domain.measure_command import measuring_line
from builds.domain.quoting import quoted, toml_string, workflow_path
from builds.domain.recipe import RECIPE_FILE
from builds.domain.roles import Role
from builds.domain.sealing import LaunchFacts

WHY = "WHY, IN A SENTENCE"
YOU = "YOUR NAME"
_SIGNED = f"--reason {quoted(WHY)} --by {quoted(YOU)}"
_EXAMPLE = LaunchFacts(
    "default", "direct_kernel", 4, "EPYC-v4", 1, "qemu", "console=ttyS0", None, None, None, frozenset()
)
_USUAL_FILES = {
    Role.KATANA: "katana",
    Role.KERNEL: "vmlinuz",
    Role.INITRD: "initrd.img",
    Role.OVMF: "ovmf.fd",
    Role.DISK: "disk.raw",
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """Text to paste: its language (``yaml``, ``toml``, ``json``, ``sh``), and where it belongs."""

    language: str
    place: str
    text: str


def attestation_step(files: Iterable[str]) -> Snippet:
    """Attests the named files; of those without a name the pattern of their directory."""
    names = [workflow_path(name) for name in dict.fromkeys(files) if name] or ["*"]
    listed = "\n".join(f"      output/{name}" for name in names)
    return Snippet(
        "yaml",
        "In the release workflow: the permissions into the job that builds, the step after the last file is written"
        " (output/ is where the files lie)",
        f"""permissions:
  contents: read
  id-token: write
  attestations: write
steps:
  - name: Attest
    uses: actions/attest-build-provenance@e8998f949152b193b063cb0ec769d69d929409be # v2.4.0
    with:
      subject-path: |
{_indented(listed, 2)}
""",
    )


def _indented(text: str, more: int) -> str:
    return "\n".join(" " * more + line for line in text.splitlines())


def kernel_hashes_step() -> Snippet:
    return Snippet(
        "yaml",
        "In the release workflow, after the step that measures",
        f"""- name: Stop when the measurement covers the firmware only
  run: |
    # Without the section sev-snp-measure refuses kernel and initrd; a fallback must not be published.
    grep -q '"boot_mode": "direct_kernel"' output/{MEASUREMENT_FILE}
""",
    )


def manifest_components(components: Sequence[PublishedComponent]) -> Snippet:
    """What the published files hash to, by the manifest's own keys; zeros stand for what is not known here."""
    found: dict[str, str] = {}
    for key, (role, algorithm) in COMPONENT_KEYS.items():
        component = next((entry for entry in components if entry.role is role), None)
        if components and component is None:
            continue
        known = component.content.get(algorithm).hex if component is not None and component.content else None
        found[key] = known or "0" * algorithm.hex_length
    return Snippet(
        "json",
        "In manifest.json, written from the finished files; zeros stand for digests that are not known here",
        json.dumps({"components": found}, indent=2) + "\n",
    )


def expected_measurement(launches: Sequence[LaunchFacts], files: Mapping[Role, str]) -> Snippet:
    launch = _to_publish(launches)
    document = {
        "measurement": launch.value or "0" * 96,
        "boot_mode": "direct_kernel",
        "components": {
            "ovmf": _file(files, Role.OVMF),
            "kernel": _file(files, Role.KERNEL),
            "initrd": _file(files, Role.INITRD),
            "cmdline": launch.command_line or "",
        },
        "vm_config": {"vcpus": launch.vcpus, "vcpu_type": launch.vcpu_type},
        "notes": "",
    }
    return Snippet(
        "json",
        f"The file {MEASUREMENT_FILE}, with the value that sev-snp-measure gives for the finished files",
        json.dumps(document, indent=2) + "\n",
    )


def _to_publish(launches: Sequence[LaunchFacts]) -> LaunchFacts:
    return next((launch for launch in launches if launch.published is None), launches[0] if launches else _EXAMPLE)


def _file(files: Mapping[Role, str], role: Role) -> str:
    return files.get(role) or _USUAL_FILES[role]


def measure(launches: Sequence[LaunchFacts], files: Mapping[Role, str]) -> Snippet:
    """The command that measures, for each configuration; the command line is given where it is known."""
    paths = {role: _file(files, role) for role in Role}
    commands = []
    for launch in launches or (_EXAMPLE,):
        append = quoted(launch.command_line) if launch.command_line is not None else '"$(cat cmdline.txt)"'
        commands.append(f"{measuring_line(launch, paths, append)}\n")
    return Snippet("sh", "Where the finished files lie", "".join(commands))


def launch_configuration() -> Snippet:
    return Snippet(
        "toml",
        f"In {RECIPE_FILE}, with the values that you measure for",
        """[[launch_configurations]]
name = "default"
boot_mode = "direct_kernel"
vcpus = 4
vcpu_type = "EPYC-v4"
guest_features = 1
vmm = "qemu"
command_line_file = "tee/configs/cmdline.txt"
""",
    )


def recipe(project: str, roles: Sequence[Role]) -> Snippet:
    """A recipe with one stage that makes the components by their usual names."""
    made = roles or list(_USUAL_FILES)
    outputs = "\n".join(
        f"{toml_string(_USUAL_FILES[role])} = {toml_string(f'/output/{_USUAL_FILES[role]}')}" for role in made
    )
    components = "\n".join(f"{role.value} = {{ output = {toml_string(_USUAL_FILES[role])} }}" for role in made)
    return Snippet(
        "toml",
        f"{RECIPE_FILE} at the top of the source tree; then `manage.py lock_materials .` writes the lock",
        f"""format = 1
name = {toml_string(project)}

[materials]
lock = "materials.lock"

[[materials.groups]]
name = "base"
suite = "trixie"
dependencies = true
packages = ["base-files", "coreutils", "dash", "gcc-14", "make"]

[base]
materials = "base"

[[stages]]
name = "image"
dockerfile = "vm-image.Dockerfile"
[stages.outputs]
{outputs}

[components]
{components}

{launch_configuration().text}""",
    )


def rebuild_line(project: str, tag: str, portal: str) -> str:
    """The command that rebuilds one release and tells nobody."""
    options = f"--portal {quoted(portal)} --project {quoted(project)}"
    # A tag that begins like an option goes behind the mark that ends them.
    given = f"{options} -- {quoted(tag)}" if tag.startswith("-") else f"{quoted(tag)} {options}"
    return f"tee-portal-rebuilder rebuild {given}"


def rebuild_command(project: str, tag: str, portal: str) -> Snippet:
    return Snippet(
        "sh",
        "On an operator's machine; it claims nothing and tells nobody",
        f"{rebuild_line(project, tag, portal)}\n",
    )


def explain_changes(project: str, tag: str) -> Snippet:
    return _manage(f"explain_changes {quoted(tag)} --project {quoted(project)} {_SIGNED}")


def set_aside(rebuilds: Sequence[str]) -> Snippet | None:
    lines = [f"set_aside {quoted(rebuild)} {_SIGNED}" for rebuild in rebuilds]
    return _manage(*lines) if lines else None


def accept_opaque(project: str, inputs: Sequence[OpaqueInput]) -> Snippet:
    distinct: dict[Digest, str] = {}
    for entry in inputs:
        distinct.setdefault(entry.digest, entry.place)
    return _manage(
        *(
            f"accept_opaque {digest.hex} --project {quoted(project)} --reason {quoted(f'{place}: {WHY}')}"
            for digest, place in distinct.items()
        )
    )


def import_again(project: str, tag: str) -> Snippet:
    return _manage(f"import_release DIRECTORY --project {quoted(project)} --tag {quoted(tag)}")


def synchronise(repository: str) -> Snippet:
    return _manage(f"synchronise {quoted(repository) if repository else 'OWNER/NAME'}")


def follow(repository: str) -> Snippet:
    followed = quoted(repository) if repository else "OWNER/NAME"
    return _manage(f"follow {followed} --workflow .github/workflows/release.yml")


def _manage(*commands: str) -> Snippet:
    text = "".join(f".venv/bin/python manage.py {command}\n" for command in commands)
    return Snippet("sh", "Where the portal runs", text)
