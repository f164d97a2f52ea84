import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.dockerfile import RefusedDockerfile, prepare

LABELS = {"org.tee-portal.rebuild": "r1", "org.tee-portal.instance": "i1"}
LABEL_LINE = 'LABEL org.tee-portal.instance="i1" org.tee-portal.rebuild="r1"'


def prepared(text: str, *, network: bool = False) -> list[str]:
    return prepare(text.encode(), LABELS, where="Dockerfile", network=network).decode().splitlines()


def test_labels_follow_every_from() -> None:
    lines = prepared("ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS one\nRUN true\nFROM scratch\nCOPY --from=one /x /x\n")
    assert lines == [
        "ARG BASE_IMAGE",
        "FROM ${BASE_IMAGE} AS one",
        LABEL_LINE,
        "RUN true",
        "FROM scratch",
        LABEL_LINE,
        "COPY --from=one /x /x",
        "",
    ]


def test_a_stage_may_start_from_an_earlier_stage_in_any_case() -> None:
    assert LABEL_LINE in prepared("from $BASE_IMAGE as Builder\nFROM builder\nCOPY --from=0 /a /b\n")


def test_a_from_over_two_lines_is_labelled_after_its_end() -> None:
    assert prepared("FROM \\\n  ${BASE_IMAGE}\nRUN x\n")[:4] == ["FROM \\", "  ${BASE_IMAGE}", LABEL_LINE, "RUN x"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN true\n",
        "FROM ubuntu:24.04\n",
        "FROM ${OTHER}\n",
        "FROM --platform=linux/arm64 ${BASE_IMAGE}\n",
        "FROM ${BASE_IMAGE}evil\n",
        "FROM \\\n evil\n",
        "FROM ${BASE_IMAGE}\nFROM later\nFROM scratch AS later\n",
        "FROM ${BASE_IMAGE}\nCOPY --from=alpine:3 /a /b\n",
        "FROM ${BASE_IMAGE}\nCOPY --chown=0:0 --from=alpine:3 /a /b\n",
        "FROM ${BASE_IMAGE}\nCOPY --FROM=alpine:3 /a /b\n",
        "FROM ${BASE_IMAGE}\nCOPY \\\n --from=alpine:3 /a /b\n",
        "FROM ${BASE_IMAGE}\nCOPY --from=$X /a /b\n",
        "FROM ${BASE_IMAGE}\nADD https://example.invalid/x /x\n",
        "FROM ${BASE_IMAGE}\nADD $URL /x\n",
        "FROM ${BASE_IMAGE}\nADD git@example.invalid:a/b /x\n",
        "FROM ${BASE_IMAGE}\nADD --checksum=sha256:aa http://e.invalid/x /x\n",
        "FROM ${BASE_IMAGE}\nONBUILD FROM evil\n",
        "FROM ${BASE_IMAGE}\nRUN --mount=type=bind,from=evil,target=/x true\n",
        "FROM ${BASE_IMAGE}\nLABEL org.tee-portal.rebuild=other\n",
        "FROM ${BASE_IMAGE}\nlabel a=b ORG.tee-portal.rebuild=other\n",
        'FROM ${BASE_IMAGE}\nLABEL a="b c" org.tee-portal.instance="other"\n',
        "FROM ${BASE_IMAGE}\nENV K=org.tee-portal.rebuild\nLABEL $K=other\n",
        'FROM ${BASE_IMAGE}\nLABEL org.tee"-portal".rebuild=other\n',
        "FROM ${BASE_IMAGE}\nLABEL org.tee\\-portal.rebuild=other\n",
        "FROM ${BASE_IMAGE}\nLABEL org.tee-portal.rebuild other\n",
        "# syntax=docker/dockerfile:1\nFROM ${BASE_IMAGE}\n",
        "#  SYNTAX = evil/frontend and more\nFROM ${BASE_IMAGE}\n",
        "# escape=`\nFROM ${BASE_IMAGE}\n",
        # The engine does not trim a no-break space, so this line would not continue for it.
        "FROM ${BASE_IMAGE}\nRUN x \\\u00a0\nFROM evil\n",
        "FROM ${BASE_IMAGE}\nRUN x \\\x0b\nFROM evil\n",
        "FROM ${BASE_IMAGE}\n# a\u2028FROM evil\n",
        "FROM ${BASE_IMAGE}\r\rFROM evil\n",
        "FROM ${BASE_IMAGE}\nRUN a \\\n# comment\n\nFROM evil\n",
    ],
)
def test_what_would_make_the_engine_fetch_or_hides_from_this_check_is_refused(text: str) -> None:
    with pytest.raises(RefusedDockerfile):
        prepared(text)


def test_a_plain_label_of_another_name_is_left_alone() -> None:
    line = 'LABEL org.opencontainers.image.title="an enclave" version=1.0'
    assert line in prepared(f"FROM ${{BASE_IMAGE}}\n{line}\n")


def test_a_recipe_that_asks_for_the_network_may_add_addresses_and_still_not_pull() -> None:
    assert prepared("FROM ${BASE_IMAGE}\nADD https://example.invalid/x /x\n", network=True)
    with pytest.raises(RefusedDockerfile):
        prepared("FROM evil\n", network=True)


def test_bytes_that_are_not_text_and_huge_files_are_refused() -> None:
    for data in (b"FROM \xff\n", b"#" * 300_000):
        with pytest.raises(RefusedDockerfile):
            prepare(data, LABELS, where="Dockerfile")


words = st.sampled_from(
    ["FROM", "scratch", "evil", "AS", "x", "RUN", "COPY", "--from=x", "--from=evil", "\\\n", "\n", " "]
)


@given(st.lists(words, max_size=25))
def test_an_accepted_dockerfile_names_no_foreign_image_in_any_from(parts: list[str]) -> None:
    text = "FROM ${BASE_IMAGE} AS x\n" + " ".join(parts) + "\n"
    try:
        lines = prepared(text)
    except RefusedDockerfile:
        return
    joined = "\n".join(lines).replace("\\\n", " ")
    for line in joined.splitlines():
        fields = line.split()
        if fields[:1] == ["FROM"]:
            assert fields[1] in {"${BASE_IMAGE}", "scratch", "x"}
        if fields[:1] == ["COPY"]:
            assert fields[1:2] != ["--from=evil"]
