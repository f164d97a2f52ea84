"""What holds an example's answer against the one that is shown: it sees what is missing, and what is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.documented import Block, blocks_of, differences, examples_of

HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: "abc"\r\n\r\n{"a": 1}'


def shown(language: str, text: str) -> Block:
    return Block("page.md", 1, language, text, None)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": "x...z"}', '{"a": "x and y and z"}'),
        ('{"a": [{"b": 1}]}', '{"a": [{"b": 1, "c": 2}, {"b": 2}]}'),
        ('{"a": [], "b": null, "c": true}', '{"a": [], "b": null, "c": true}'),
    ],
)
def test_an_answer_may_hold_more_than_is_shown(wanted: str, given: str) -> None:
    assert differences(shown("json", wanted), given) == []


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ('{"a": 1}', '{"b": 1}'),
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": null}', '{"a": "x"}'),
        ('{"a": "..."}', '{"a": null}'),
        ('{"a": "..."}', '{"a": ""}'),
        ('{"a": "allow"}', '{"a": "deny, not allow"}'),
        ('{"a": []}', '{"a": [1]}'),
        ('{"a": [1, 2]}', '{"a": [1]}'),
        ('{"a": [1]}', '{"a": [2, 1]}'),
        ('{"a": {"b": 1}}', '{"a": [1]}'),
    ],
)
def test_an_answer_that_is_another_than_is_shown_is_told(wanted: str, given: str) -> None:
    assert len(differences(shown("json", wanted), given)) == 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ('HTTP/1.1 200 OK\nETag: "..."\n', 0),
        ('HTTP/1.1 200 OK\netag: "abc"\n\n{"a": 1}\n', 0),
        ("HTTP/1.1 404 Not Found\n", 1),
        ("HTTP/1.1 200 OK\nLocation: ...\n", 1),
        ('HTTP/1.1 200 OK\nETag: "abd"\n\n{"a": 2}\n', 2),
    ],
)
def test_status_fields_and_body_of_an_answer_are_compared(wanted: str, told: int) -> None:
    assert len(differences(shown("http", wanted), HEAD)) == told


@pytest.mark.parametrize(
    ("wanted", "told"), [("a\nb\n", 0), ("a\n...\n", 0), ("b\n...\n", 1), ("a\n", 1), ("a\nc\n", 1)]
)
def test_lines_are_compared_one_by_one(wanted: str, told: int) -> None:
    assert len(differences(shown("text", wanted), "a\nb\n")) == told


def test_an_answer_belongs_to_the_commands_before_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fence = "`" * 3
    page.write_text(
        f"{fence}sh\none\n{fence}\n\n{fence}json\n{{}}\n{fence}\n\n"
        f"<!-- not run: it is a program -->\n{fence}sh\ntwo\n{fence}\n"
    )
    first, second = examples_of(page)
    assert (first.block.text, first.answer and first.answer.text) == ("one\n", "{}\n")
    assert (second.block.text, second.answer, second.block.why_not) == ("two\n", None, "it is a program")
    assert [block.line for block in blocks_of(page)] == [2, 6, 11]
