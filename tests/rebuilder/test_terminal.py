"""What a hostile portal or source says reaches the operator's terminal as plain lines."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.printable import on_terminal
from builds.rebuilder import session
from builds.rebuilder.cli import main
from tests.support.false_portal import false_portal

ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b5m\r\u202e\u2028"
TAKEN = {
    "statement": f"sha256:{'a' * 64}",
    "rebuild": "r",
    "address": "/rebuilds/1/",
    "outcome": "mismatched",
    "notCounted": "",
}


def is_plain(line: str) -> bool:
    return not any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in line) and "\u202e" not in line


def ran(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and all that was written; each line of it is plain."""
    code = main(arguments)
    streams = capsys.readouterr()
    said = streams.out + streams.err
    assert all(is_plain(line) for line in said.split("\n")), said
    return code, said


@pytest.fixture
def statement(tmp_path: Path) -> str:
    path = tmp_path / "s.rebuild.sigstore.json"
    path.write_bytes(b"{}")
    return str(path)


def test_why_a_statement_does_not_count_is_said_in_one_plain_line(
    statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = json.dumps({**TAKEN, "notCounted": f"because{ESCAPES}\nsigned statement: /forged"}).encode()
    with false_portal(lambda _: answer) as portal:
        code, said = ran("submit", statement, "--portal", portal.address, capsys=capsys)
    assert code == 1
    assert "it does not count: because" in said
    assert "\nsigned statement" not in said


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("statement", f"sha256:x{ESCAPES}"),
        ("address", f"/x{ESCAPES}"),
        ("address", "@elsewhere.invalid/"),
        ("outcome", ESCAPES),
        ("rebuild", ESCAPES),
        (f"x{ESCAPES}", "an unknown member"),
    ],
)
def test_an_answer_that_holds_escapes_is_malformed_and_named_in_plain_words(
    statement: str, capsys: pytest.CaptureFixture[str], member: str, value: str
) -> None:
    answer = json.dumps({**TAKEN, member: value}).encode()
    with false_portal(lambda _: answer) as portal:
        code, said = ran("submit", statement, "--portal", portal.address, capsys=capsys)
    assert code == 2
    assert said.startswith("malformed-job: ")


@pytest.mark.parametrize("name", [{"project": f"p{ESCAPES}", "tag": "v1"}, {"project": "p", "tag": f"v1{ESCAPES}"}])
def test_a_list_of_releases_with_names_that_are_none_is_malformed(
    name: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = json.dumps({"releases": [name], "next": None}).encode()
    with false_portal(lambda _: answer) as portal:
        code, said = ran("--dry-run", "--portal", portal.address, "--data", str(tmp_path), capsys=capsys)
    assert code == 2
    assert said.startswith("malformed-job: ")


def test_a_refusal_is_said_in_one_plain_line(statement: str, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({name: f"{name}{ESCAPES}\nforged" for name in ("code", "what", "where", "todo")}).encode()
    with false_portal(lambda _: body, status=400) as portal:
        code, said = ran("submit", statement, "--portal", portal.address, capsys=capsys)
    assert code == 2
    assert said.count("\n") == 1


@given(st.text(st.characters(), max_size=200))
def test_any_text_becomes_one_line_that_moves_no_cursor(text: str) -> None:
    line = on_terminal(text)
    assert is_plain(line)
    line.encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("failed: why\rall is well", "failed: why all is well"),
        ("one\ntwo\n", "one two"),
        ("  [build]", "  [build]"),
        ("a\tb", "a   b"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("", ""),
    ],
)
def test_nothing_of_a_text_is_hidden(text: str, line: str) -> None:
    assert on_terminal(text) == line


def test_a_terminal_that_has_not_every_character_still_gets_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    session.say("gr\u00fcn\x1b")
    assert raw.getvalue() == b"gr?n?\n"


def test_a_line_without_end_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    session.say("x" * 100_000)
    assert len(capsys.readouterr().out) < 10_000
