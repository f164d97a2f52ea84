"""The calls of sev-snp-measure (0.0.13) and snpguest that compute a launch measurement, as one line of a shell."""

from __future__ import annotations

from collections.abc import Mapping

from builds.domain.launch import Launch
from builds.domain.quoting import quoted
from builds.domain.roles import BootMode, Role

# As the tool's own --vmm-type spells them.
_VMM_NAMES = {"qemu": "QEMU", "ec2": "ec2", "gce": "gce"}
_SNPGUEST_VMMS = {"qemu", "ec2"}
_MEASURED = {Role.OVMF: "--ovmf", Role.KERNEL: "--kernel", Role.INITRD: "--initrd"}


def measured_roles(launch: Launch) -> tuple[Role, ...]:
    """Whose files go into the measurement: the firmware alone where it boots a disk."""
    return tuple(_MEASURED) if launch.boot_mode == BootMode.DIRECT_KERNEL else (Role.OVMF,)


def measuring_line(launch: Launch, files: Mapping[Role, str], command_line: str) -> str | None:
    """The call for ``files`` by their paths; None when one that is measured is not among them.

    ``command_line`` is a word of the shell already, quoted or a substitution.
    """
    roles = measured_roles(launch)
    if not set(roles) <= files.keys():
        return None
    return f"sev-snp-measure --mode snp {_options(launch, files, command_line)}"


def snpguest_line(launch: Launch, files: Mapping[Role, str], command_line: str) -> str | None:
    """As ``measuring_line`` for snpguest (src/preattestation.rs at 032336e); None also for a VMM it does not know."""
    roles = measured_roles(launch)
    if launch.vmm not in _SNPGUEST_VMMS or not set(roles) <= files.keys():
        return None
    return f"snpguest generate measurement {_options(launch, files, command_line)}"


def _options(launch: Launch, files: Mapping[Role, str], command_line: str) -> str:
    """Both programs name them alike."""
    options = [
        f"--vcpus {launch.vcpus}",
        f"--vcpu-type {quoted(launch.vcpu_type)}",
        f"--vmm-type {_VMM_NAMES[launch.vmm]}",
        f"--guest-features {launch.guest_features:#x}",
        *(f"{_MEASURED[role]} {quoted(path_of(files[role]))}" for role in measured_roles(launch)),
    ]
    if launch.boot_mode == BootMode.DIRECT_KERNEL:
        # One word, since a command line may begin like an option.
        options.append(f"--append={command_line}")
    return " ".join(options)


def path_of(name: str) -> str:
    """A file's name as a path that no command takes for an option, such as --check-claims=false."""
    return f"./{name}" if name.startswith("-") else name
