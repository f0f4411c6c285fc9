"""Progress in a terminal and in a log."""

import io

import pytest

from text2latent.common.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_log_gets_whole_lines_with_rate_and_the_total():
    stream = io.StringIO()
    assert list(progress(range(5), unit="pairs", stream=stream, seconds=0)) == [0, 1, 2, 3, 4]
    text = stream.getvalue()
    assert "\r" not in text
    assert "5/5" in text.splitlines()[-1]
    assert "pairs/s" in text


def test_log_stays_short():
    stream = io.StringIO()
    for _ in progress(range(10_000), stream=stream):
        pass
    assert len(stream.getvalue().splitlines()) <= 3


def test_terminal_gets_a_bar_that_rewrites_itself():
    stream = Terminal()
    for _ in progress(range(3), unit="steps", stream=stream):
        pass
    assert "\r" in stream.getvalue()
    assert "3/3" in stream.getvalue()


def test_updates_by_hand_go_on_from_an_earlier_run():
    stream = io.StringIO()
    with progress(total=100, unit="pairs", initial=60, stream=stream, seconds=0) as bar:
        bar.update(32)
        assert bar.n == 92
    assert "60/100" in stream.getvalue()
    assert "92/100" in stream.getvalue()


def test_default_stream_is_stderr(capsys):
    list(progress(range(2)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2" in captured.err


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_short_work_shows_nothing_before_its_delay(stream):
    assert list(progress(range(3), stream=stream, seconds=0, delay=float("inf"))) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_interrupted_loops_close():
    stream = io.StringIO()

    def interrupted():
        for step in progress(range(10), stream=stream):
            if step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().endswith("\n")
