"""Build logs as plain text: what a hostile build prints must not drive a terminal or a page."""

from __future__ import annotations

import re

# ECMA-48: CSI, OSC/DCS/SOS/PM/APC strings with their terminators, and two-character escapes.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

MAX_LINE_CHARACTERS = 4096


def plain_line(line: str) -> str:
    """One log line without escape sequences, control or bidirectional-override characters.

    A carriage return keeps only what was printed after it, as a terminal would show. Lines over
    4096 characters are cut, and say so.
    """
    text = _ESCAPES.sub("", line.rstrip("\r\n"))
    text = text.rsplit("\r", 1)[-1]
    text = _CONTROLS.sub("\ufffd", text)
    if len(text) > MAX_LINE_CHARACTERS:
        dropped = len(text) - MAX_LINE_CHARACTERS
        text = f"{text[:MAX_LINE_CHARACTERS]} [{dropped} more characters cut]"
    return text


def plain_text(text: str) -> str:
    """Several lines, each as ``plain_line`` gives it."""
    return "\n".join(plain_line(line) for line in text.split("\n"))


def lines_of(text: str) -> list[str]:
    """The lines of one piece of a log. A piece ends its last line, so that no line reaches into another piece."""
    return text.removesuffix("\n").split("\n") if text else []


class LineSplitter:
    """Joins the pieces a stream arrives in and hands out whole, plain lines.

    A line that never ends is handed out in parts of bounded size, so that memory stays bounded.
    """

    _LONGEST_PENDING = 64 * 1024

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, text: str) -> list[str]:
        """Whole lines completed by ``text``."""
        *lines, self._pending = (self._pending + text).split("\n")
        if len(self._pending) > self._LONGEST_PENDING:
            lines.append(self._pending)
            self._pending = ""
        return [plain_line(line) for line in lines]

    def flush(self) -> list[str]:
        """The last line, if it did not end."""
        rest, self._pending = self._pending, ""
        return [plain_line(rest)] if rest else []
