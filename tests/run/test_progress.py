"""The lines of training's progress: whose figures they are, and how long it will take."""

import re

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
        assert 398 * 2 <= 60 * minutes + seconds <= 398 * 5
    assert len(lines) == 3


def test_a_baseline_has_one_network():
    assert progress.describe({"loss": 0.25, "accuracy": 1.0}) == "loss 0.2500, accuracy 100.0 %"
