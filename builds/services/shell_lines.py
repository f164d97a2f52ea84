"""Lines for a shell: words of strangers in them, published components as files, and the launch measurement of these.

Whatever comes from outside is quoted: a tag or file name must never become a command, nor an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builds.domain.launch import Launch
from builds.domain.measure_command import measured_roles, measuring_line, path_of, snpguest_line
from builds.domain.quoting import quoted
from builds.domain.roles import Role
from builds.models import Component


@dataclass(frozen=True, slots=True)
class Target:
    """A component as a file where its published file lies, and the lines that take it out of its container.

    Names come from strangers: they are quoted in the lines, and not in ``path``.
    """

    path: str
    unpack: tuple[str, ...] = ()


def published_path(component: Component) -> str:
    """The published file as a path that no command takes for an option, such as --check-claims=false."""
    return path_of(component.file_name or component.role)


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


def measured_files(launch: Launch, files: Mapping[Role, Component]) -> list[Target]:
    """What ``measuring_line_of`` reads."""
    return [target_of(files[role]) for role in measured_roles(launch)]


def measuring_line_of(launch: Launch, command_line: str, files: Mapping[Role, Component]) -> str | None:
    """The call of sev-snp-measure for published files; None when one that is measured is not among them."""
    paths = {role: target_of(component).path for role, component in files.items()}
    return measuring_line(launch, paths, quoted(command_line))


def snpguest_line_of(launch: Launch, command_line: str, files: Mapping[Role, Component]) -> str | None:
    """As ``measuring_line_of``, for snpguest; None also for a VMM that it does not know."""
    paths = {role: target_of(component).path for role, component in files.items()}
    return snpguest_line(launch, paths, quoted(command_line))
