"""What a kernel makes of its command line, as far as it decides which program runs first."""

from __future__ import annotations

from builds.domain.printable import one_line

_INIT = frozenset({"init", "rdinit"})
"""Parameters that name the first program: of the root file system, and of the initrd."""


def init_replacement(command_line: str) -> str | None:
    """The parameter by which a command line replaces init; None when the image's own is started.

    As the kernel reads it (Documentation/admin-guide/kernel-parameters.rst, lib/cmdline.c): parameters are separated by
    white space that stands in no double quotes, the quotes around a parameter or its value do not belong to it, and
    what follows a lone ``--`` is handed to init itself. Of several the last one decides, and each counts here.
    """
    for parameter in _parameters(command_line):
        if parameter == "--":
            return None
        name, separator, _ = parameter.partition("=")
        if separator and name in _INIT:
            return parameter
    return None


def said_of_replaced_init(command_line: str) -> str | None:
    """The sentence against a command line that replaces init; None when it does not."""
    replacing = init_replacement(command_line)
    if replacing is None:
        return None
    return f"The command line names another first program than the image's init: {one_line(replacing, 100)}."


def _parameters(command_line: str) -> list[str]:
    found: list[str] = []
    current, is_quoted = "", False
    for character in command_line:
        if character == '"':
            is_quoted = not is_quoted
        elif character.isspace() and not is_quoted:
            found.append(current)
            current = ""
        else:
            current += character
    return [parameter for parameter in (*found, current) if parameter]
