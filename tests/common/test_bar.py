"""Lines of progress, by a clock of the test's own."""

import types

import pytest

from mpl_tf.common import bar as bar_


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(value=100.0)
    monkeypatch.setattr(bar_, "LINE_SECONDS", 10.0)
    monkeypatch.setattr(bar_.time, "monotonic", lambda: now.value)
    return now


def test_waiting_for_processes_is_no_work(clock):
    """637 images, a process that takes 13 s to start, then 35 images/s."""
    with bar_.Bar(637, " images", "preparing") as bar:
        clock.value = 113.2
        assert bar.line(clock.value) == "preparing: 0/637 images, 0 images/s"
        bar.began(113.0)
        bar.update(7)
        assert bar.line(clock.value) == "preparing: 7/637 images, 35 images/s, 00:18 left"
        clock.value = 115.0
        bar.began(114.9)        # of a later shard
        bar.update(63)
        assert bar.line(clock.value) == "preparing: 70/637 images, 35 images/s, 00:16 left"


def test_what_was_done_before_counts_for_no_rate(clock, capsys):
    with bar_.Bar(100, " files", "reading", initial=50) as bar:
        bar.began(90.0)         # before the bar: its own beginning holds
        clock.value = 105.0
        bar.update(10)
        assert bar.line(clock.value) == "reading: 60/100 files, 2 files/s, 00:20 left"
        clock.value = 111.0
        bar.update(1)
        bar.update(1)
    err = capsys.readouterr().err
    assert err.splitlines() == ["reading: 61/100 files, 1 files/s, 00:39 left"]


def test_the_bar_of_a_terminal_counts_from_there_too(clock, monkeypatch):
    monkeypatch.setattr(bar_.sys.stderr, "isatty", lambda: True, raising=False)
    with bar_.Bar(10, " images", "preparing") as bar:
        begun = bar._bar.start_t
        clock.value = 113.0
        bar.began(112.0)
        assert bar._bar.start_t == pytest.approx(begun + 12) == bar._bar.last_print_t
