"""What a rebuild tells while it runs: all of it, in order, once, however often whoever is told is away."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builds.domain.errors import PortalError
from builds.domain.lifecycle import StageState
from builds.domain.progress import MAX_PIECE_CHARACTERS, Answer, LogPiece, Progress, StageReport
from builds.pipeline.control import Cancelled, ClaimLost
from builds.pipeline.reporting import Pace, Reporter, SinkAway, bounded_report

ANY_TEXT = st.text(st.characters(), max_size=300)
"""Half characters too, which Python's texts may hold."""
QUICK = Pace(heartbeat=30, flush=0.01, lease=10)


class Sink:
    """Takes what it is told, unless it is away; answers as it is told to."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self.refused = 0
        self.is_away = False
        self.answer = Answer.GO_ON
        self.closed_by: list[str] = []
        self.before: Callable[[], None] = lambda: None

    def send(self, progress: Progress) -> Answer:
        self.before()
        if self.is_away:
            self.refused += 1
            raise SinkAway("away", where="test")
        self.told.append(progress)
        return self.answer

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)

    @property
    def pieces(self) -> list[LogPiece]:
        return [piece for progress in self.told for piece in progress.log]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def stages(self) -> dict[int, StageReport]:
        """The last report of each position."""
        return {report.position: report for progress in self.told for report in progress.stages}


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "waited 10 seconds"
        time.sleep(0.005)


def test_stages_and_log_arrive_in_order_and_the_digest_is_of_what_arrived() -> None:
    sink = Sink()
    with Reporter(sink, QUICK) as reporter:
        reporter.log("before any stage\n")
        for name in ("source", "build"):
            reporter.stage_started(name)
            reporter.log(f"in {name}\nno end")
            reporter.stage_ended(name, exit_code=0)
        reporter.settle()
        told = reporter.log_sha256
    assert sink.text == "before any stage\nin source\nno end\nin build\nno end\n"
    assert told == hashlib.sha256(sink.text.encode()).hexdigest()
    assert [piece.sequence for piece in sink.pieces] == list(range(1, len(sink.pieces) + 1))
    assert {piece.text: piece.stage_position for piece in sink.pieces}["in build\nno end\n"] == 2
    assert [(report.name, report.state, report.exit_code) for report in sink.stages.values()] == [
        ("source", StageState.SUCCEEDED, 0),
        ("build", StageState.SUCCEEDED, 0),
    ]
    assert sink.closed_by == ["progress"]


@settings(max_examples=50)
@given(st.lists(ANY_TEXT, max_size=6))
def test_whatever_a_build_prints_arrives_as_plain_text_and_is_what_is_signed(texts: list[str]) -> None:
    sink = Sink()
    with Reporter(sink, QUICK) as reporter:
        for text in texts:
            reporter.log(text)
        reporter.settle()
        told = reporter.log_sha256
    assert told == hashlib.sha256(sink.text.encode()).hexdigest()
    whole = "".join(texts)
    assert sink.text.count("\n") == whole.count("\n") + (whole != "" and not whole.endswith("\n"))
    assert not set(sink.text) & {chr(code) for code in (*range(9), *range(11, 32), 127, 0x9B, 0x202E)}


def test_a_line_without_end_is_told_in_pieces_of_bounded_size() -> None:
    sink = Sink()
    with Reporter(sink, QUICK) as reporter:
        for _ in range(100):
            reporter.log("x" * 10_000)
        reporter.settle()
    assert len(sink.pieces) > 1
    assert max(len(piece.text) for piece in sink.pieces) <= MAX_PIECE_CHARACTERS
    assert "more characters cut" in sink.text


def test_what_a_sink_that_was_away_did_not_take_is_told_again_once_and_in_order() -> None:
    sink = Sink()
    sink.is_away = True
    with Reporter(sink, QUICK) as reporter:
        reporter.stage_started("build")
        for number in range(200):
            reporter.log(f"{number}\n")
            if number % 50 == 0:
                wait_until(lambda seen=sink.refused: sink.refused > seen)  # type: ignore[misc]
        assert sink.told == []
        sink.is_away = False
        reporter.stage_ended("build", exit_code=0)
        reporter.settle()
        assert sink.stages[1].state is StageState.SUCCEEDED
    assert sink.text == "".join(f"{number}\n" for number in range(200))
    assert [piece.sequence for piece in sink.pieces] == list(range(1, len(sink.pieces) + 1))


def test_a_stage_that_ends_while_its_beginning_is_told_is_told_again() -> None:
    sink, telling, go_on = Sink(), threading.Event(), threading.Event()

    def slow() -> None:
        telling.set()
        assert go_on.wait(10)

    sink.before = slow
    with Reporter(sink, QUICK) as reporter:
        reporter.stage_started("build")
        assert telling.wait(10)
        reporter.stage_ended("build", exit_code=0)
        go_on.set()
        reporter.settle()
    assert sink.stages[1].state is StageState.SUCCEEDED


def test_a_quiet_build_gives_a_sign_of_life_and_no_more_than_that() -> None:
    sink = Sink()
    with Reporter(sink, Pace(heartbeat=0.05, flush=0.01, lease=10)) as reporter:
        wait_until(lambda: len(sink.told) >= 3)
        reporter.check()
    assert not any(progress.log or progress.stages for progress in sink.told)


def test_cancellation_stops_the_build_at_its_next_check_and_what_it_says_still_arrives() -> None:
    sink = Sink()
    sink.answer = Answer.CANCELLED
    with Reporter(sink, QUICK) as reporter:
        reporter.stage_started("build")
        assert reporter.cancelled.wait(10)
        with pytest.raises(Cancelled) as caught:
            reporter.check()
        reporter.stage_failed("build", caught.value, exit_code=None)
        reporter.settle()
    assert sink.stages[1].state is StageState.CANCELLED
    assert "cancelled: the rebuild was cancelled" in sink.text


@pytest.mark.parametrize("stops", [True, False])
def test_a_claim_that_is_gone_ends_the_build_unless_its_result_is_wanted_all_the_same(stops: bool) -> None:
    sink = Sink()
    sink.answer = Answer.GONE
    with Reporter(sink, QUICK, stops_when_gone=stops) as reporter:
        reporter.log("a line\n")
        assert reporter.gone.wait(10)
        if stops:
            with pytest.raises(ClaimLost):
                reporter.check()
        else:
            reporter.check()
        reporter.log("another\n")
        began = time.monotonic()
        reporter.settle()
        assert time.monotonic() - began < 5
        assert reporter.log_sha256 == hashlib.sha256(b"a line\nanother\n").hexdigest()
    assert len(sink.told) == 1


def test_a_sink_that_is_away_longer_than_the_lease_has_lost_the_claim() -> None:
    sink = Sink()
    sink.is_away = True
    with Reporter(sink, Pace(heartbeat=0.05, flush=0.01, lease=0.3)) as reporter:
        assert reporter.gone.wait(10)
        with pytest.raises(ClaimLost):
            reporter.check()
    assert sink.told == []


def test_settling_waits_for_whoever_is_told_and_not_beyond_the_lease() -> None:
    sink = Sink()
    sink.is_away = True
    with Reporter(sink, Pace(heartbeat=30, flush=0.01, lease=1.0)) as reporter:
        reporter.log("a line\n")
        began = time.monotonic()
        reporter.settle()
        assert 0.5 < time.monotonic() - began < 5


def test_whoever_runs_the_program_can_stop_the_build() -> None:
    with Reporter(Sink(), QUICK) as reporter:
        reporter.check()
        reporter.interrupt()
        with pytest.raises(Cancelled, match="whoever runs the rebuilder"):
            reporter.check()


def test_a_program_that_is_told_to_end_does_not_wait_a_lease_for_whoever_is_away() -> None:
    sink = Sink()
    sink.is_away = True
    began = time.monotonic()
    with Reporter(sink, Pace(heartbeat=30, flush=0.01, lease=3600), stops_when_gone=False) as reporter:
        reporter.log("a line\n")
        threading.Timer(0.5, reporter.interrupt).start()
        reporter.settle()
        assert time.monotonic() - began > 3
    assert time.monotonic() - began < 8
    wait_until(lambda: sink.closed_by == ["progress"])


def test_a_program_that_is_told_to_end_does_not_wait_for_an_answer_that_never_comes() -> None:
    sink, answered = Sink(), threading.Event()
    sink.before = lambda: answered.wait(60) and None
    began = time.monotonic()
    with Reporter(sink, Pace(heartbeat=30, flush=0.01, lease=3600)) as reporter:
        reporter.log("a line\n")
        reporter.interrupt()
    assert time.monotonic() - began < 8
    answered.set()
    wait_until(lambda: sink.closed_by == ["progress"])


def test_a_program_that_is_told_to_end_still_tells_what_is_left() -> None:
    sink = Sink()
    with Reporter(sink, Pace(heartbeat=30, flush=5, lease=3600)) as reporter:
        reporter.interrupt()
        reporter.log("the last line\n")
    assert sink.text == "the last line\n"


def test_what_is_told_is_echoed_as_plain_text() -> None:
    said: list[str] = []
    with Reporter(Sink(), QUICK, echo=said.append) as reporter:
        reporter.stage_started("build")
        reporter.log("\x1b[31mred\x1b[0m\n")
    assert "".join(said) == "[build]\nred\n"


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_an_error_that_quotes_a_hostile_build_fits_a_report(what: str, where: str, todo: str) -> None:
    report = bounded_report(PortalError(what, where=where, todo=todo))
    assert (report.code, len(report.what) <= 4000) == ("portal-error", True)
    assert not set(report.what + report.where + report.todo) & set("\x00\x1b\x9b\u202e")


def test_a_long_error_is_cut_and_says_the_same_from_its_beginning() -> None:
    report = bounded_report(PortalError("line\n" * 10_000 + "\x1b[31m", where="x" * 5000, todo="y" * 5000))
    assert report.what == ("line\n" * 10_000)[:4000]
    assert (len(report.where), len(report.todo)) == (1000, 1000)
