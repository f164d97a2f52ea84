"""Lines for a shell: words of strangers in them, published components as files, and the launch measurement of these.

Whatever comes from outside is quoted: a tag or file name must never become a command, nor an option.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from builds.domain.launch import LaunchConfiguration
from builds.domain.roles import BootMode, Role
from builds.models import Component

# As the tool's own --vmm-type spells them.
_VMM_NAMES = {"qemu": "QEMU", "ec2": "ec2", "gce": "gce"}
_MEASURED = {Role.OVMF: "--ovmf", Role.KERNEL: "--kernel", Role.INITRD: "--initrd"}


@dataclass(frozen=True, slots=True)
class Target:
    """A component as a file where its published file lies, and the lines that take it out of its container.

    Names come from strangers: they are quoted in the lines, and not in ``path``.
    """

    path: str
    unpack: tuple[str, ...] = ()


def quoted(text: str) -> str:
    """One word for a shell; what cannot be seen is written as octal escapes of its bytes, so that nothing hides."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="replace"))


def published_path(component: Component) -> str:
    """The published file as a path that no command takes for an option, such as --check-claims=false."""
    return path_of(component.file_name or component.role)


def path_of(name: str) -> str:
    """A file's name as a path that no command takes for an option."""
    return f"./{name}" if name.startswith("-") else name


def target_of(component: Component) -> Target:
    """The component itself: the published file, or what is inside it."""
    published = published_path(component)
    if not component.container_kind:
        return Target(published)
    inside = f"{component.role}.unpacked"
    if component.container_kind == "gzip":
        return Target(inside, (f"gzip -dc {quoted(published)} > {inside}",))
    # A directory in the tarball may be named like an option too, such as --to-command=sh.
    member = component.member or component.role
    return Target(inside, (f"tar -xzOf {quoted(published)} --no-anchored -- {quoted(member)} > {inside}",))


def measuring_line(launch: LaunchConfiguration, command_line: str, files: Mapping[Role, Component]) -> str | None:
    """The call of sev-snp-measure (0.0.13) for a launch; None when a file that is measured is not among ``files``."""
    direct = launch.boot_mode is BootMode.DIRECT_KERNEL
    measured = {role: option for role, option in _MEASURED.items() if direct or role is Role.OVMF}
    if not measured.keys() <= files.keys():
        return None
    options = [
        f"--vcpus {launch.vcpus}",
        f"--vcpu-type {quoted(launch.vcpu_type)}",
        f"--vmm-type {_VMM_NAMES[launch.vmm]}",
        f"--guest-features {launch.guest_features:#x}",
        *(f"{option} {quoted(target_of(files[role]).path)}" for role, option in measured.items()),
    ]
    if direct:
        # One word, since a command line may begin like an option.
        options.append(f"--append={quoted(command_line)}")
    return f"sev-snp-measure --mode snp {' '.join(options)}"


def measured_files(launch: LaunchConfiguration, files: Mapping[Role, Component]) -> list[Target]:
    """What ``measuring_line`` reads."""
    direct = launch.boot_mode is BootMode.DIRECT_KERNEL
    return [target_of(files[role]) for role in _MEASURED if direct or role is Role.OVMF]
