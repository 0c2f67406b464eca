"""The lines of training's progress: whose figures they are, and how long it will take."""

import re
import types

import pytest

from mpl_tf.run import progress


def test_lines_in_a_log_say_whose_loss_it_is_and_how_long_it_will_take(monkeypatch, capsys):
    now = iter(range(1000, 1100))       # a second passes between two looks at the clock
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.5)
    shown = progress.Progress(500, start_step=100)
    logs = {"student_loss": 1.5, "teacher_loss": 9.0, "R": 2.0, "accuracy": 0.5}
    for step in (101, 102, 103):
        shown.update(step, logs, examples_per_second=64.2)
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    words = "student loss 1.5000, R 2.0000, student accuracy 50.0 %, 64 examples/s"
    assert lines[0] == f"step 101/500: {words}"       # one step alone, which traces, tells no rate
    for line, step in zip(lines[1:], (102, 103)):
        assert line.startswith(f"step {step}/500: {words}, ")
        minutes, seconds = map(int, re.search(r"(\d+):(\d+) left$", line).groups())
        assert 397 <= 60 * minutes + seconds <= 398 * 5
    assert len(lines) == 3


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_left_leaves_out_what_traces(monkeypatch, capsys, terminal):
    """60 steps of a second each; the first step, evaluation and summary take a minute to trace."""
    now = [1000.0]
    monkeypatch.setattr(progress, "LINE_SECONDS", 10.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    told = {}
    monkeypatch.setattr(progress, "tqdm", lambda *_, **__: types.SimpleNamespace(
        set_postfix_str=lambda words, refresh: told.update({shown._step: words}),
        update=lambda taken: None, close=lambda: None))
    progress.tqdm.format_interval = lambda seconds: f"{seconds:.0f} s"
    shown = progress.Progress(160, start_step=100)      # a resumed run traces again
    for step in range(101, 111):
        now[0] += 1 if step > 101 else 60
        shown.update(step, {"loss": 1.0})
        for name in ("evaluation", "summary"):
            if step % 3 == 0:
                with shown.first_traces(name):
                    now[0] += 60 if step == 102 else 0.5
    shown.close()
    assert told[101] == "loss 1.0000" and told[102] == "loss 1.0000, 58 s left"
    left = {step: int(words.split()[-3]) for step, words in told.items() if step > 101}
    assert left[103] == 57 and 50 < left[110] <= 1.4 * 50     # a step of 1 s, and 1 s each third step
    lines = capsys.readouterr().err.splitlines()
    assert (lines == []) == terminal


def test_a_baseline_has_one_network():
    assert progress.describe({"loss": 0.25, "accuracy": 1.0}) == "loss 0.2500, accuracy 100.0 %"
