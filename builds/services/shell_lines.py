"""Lines for a shell: words of strangers in them, and published components brought to where a command reads them."""

from __future__ import annotations

import shlex

from builds.models import Component


def shell_word(text: str) -> str:
    """Quoted for a shell; what cannot be seen is written as octal escapes of its bytes, so that nothing hides."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode())


def published_name(component: Component) -> str:
    """The published file as a path that no command takes for an option, such as --check-claims=false."""
    name = component.file_name or component.role
    return f"./{name}" if name.startswith("-") else name


def component_file(component: Component) -> tuple[str, list[str]]:
    """The component's own file, and the lines that take it out of the container it was published in.

    Names come from strangers; they are quoted in the lines, and not in the name that is returned.
    """
    published = published_name(component)
    if not component.container_kind:
        return published, []
    inside = f"{component.role}.unpacked"
    if component.container_kind == "gzip":
        return inside, [f"gzip -dc {shell_word(published)} > {inside}"]
    # A directory in the tarball may be named like an option too, such as --to-command=sh.
    member = component.member or component.role
    return inside, [f"tar -xzOf {shell_word(published)} --no-anchored -- {shell_word(member)} > {inside}"]
