"""The benchmark of a whole run: each turn's time is what it says; speeds are not asserted."""

import pytest
import tensorflow as tf

from mpl_tf.benchmark import __main__ as command, run
from mpl_tf.common.stop_request import StopRequest

STEP, INPUT, BETWEEN = 5.0, 2.0, 1.0        # seconds of a clock that only the parts below move


@pytest.fixture
def clock(monkeypatch):
    """[seconds], the time that the benchmark sees: wall time, and twice as many CPU seconds."""
    seconds = [0.0]
    monkeypatch.setattr(run, "_now", lambda: (seconds[0], 2 * seconds[0]))
    monkeypatch.setattr(run, "SETTLE", 0.0)
    monkeypatch.setattr(run, "TURN", 10 * STEP)
    return seconds


def batches_of(clock):
    while True:
        clock[0] += INPUT
        yield tf.zeros([1])


def test_a_turn_has_the_time_of_its_parts(clock):
    def step(batches):
        next(batches)
        clock[0] += STEP
        return {"loss": tf.constant(1.0)}

    function, stop = run.TimedFunction(step), StopRequest("")
    turns = run.Turns(lambda: batches_of(clock), function, 2, stop)
    turns.record(0, None)
    assert turns.steps == 10
    batches, taken = batches_of(clock), 0
    while not stop.asked:
        function(batches)
        clock[0] += BETWEEN
        taken += 1
        if turns.due(taken):
            turns.record(taken, None)
    assert taken == 3 * turns.steps and len(turns.by_round) == 2 and turns.complete
    middle = run.medians(turns.by_round)
    assert middle == {turn: pytest.approx((wall, 2 * wall)) for turn, wall in {
        run.RUN: INPUT + STEP + BETWEEN, run.BETWEEN: BETWEEN, run.ALONE: STEP, run.INPUT: INPUT,
        run.BESIDE: INPUT + STEP, run.WAIT: INPUT}.items()}
    assert run.ratio(turns.by_round) == pytest.approx([STEP / (INPUT + STEP + BETWEEN)] * 3)
    assert run.ratio([{run.ALONE: (each, 0), run.RUN: (8, 0)} for each in range(1, 6)]) == [0.25, 0.375, 0.5]


def test_what_waits_is_told():
    middle = {run.RUN: (0.2, 0.3), run.ALONE: (0.1, 0.2), run.INPUT: (0.05, 0.1), run.WAIT: (0.05, 0.0),
              run.BETWEEN: (0.01, 0.0), run.BESIDE: (0.2, 0.3)}
    said = run.reading(middle, 4)
    for words in ("waits for its batch at most 25.0 %", "between steps takes 5.0 %", "2.00 of 4 cores",
                  "100.0 CPU ms", "0.667 of", "as fast as alone 50.0 %", "20.0 % are lost"):
        assert words in said
    assert "in time" not in said
    assert "in time" in run.reading({**middle, run.WAIT: (0.001, 0.0)}, 4)


def test_the_loop_of_a_run_is_measured(capsys, monkeypatch):
    for name, value in {"DRAWN": 40, "LABELED": 20, "TURN": 0.0, "SETTLE": 0.0, "FEWEST": 1}.items():
        monkeypatch.setattr(run, name, value)
    assert command.main(["--what=run", "--network=mlp", "--batch_size=4", "--rounds=1"]) == 0
    out = capsys.readouterr().out
    assert "mlp, supervised, float32, batch 4 + 4, drawn images, 1 rounds of 1 steps" in out
    for row in (run.ALONE, run.RUN, run.INPUT, run.BESIDE, run.WAIT, run.BETWEEN, "run / step alone"):
        assert f"\n{row}" in out


def test_another_size_is_refused(capsys):
    assert command.main(["--what=run", "--image_size=64"]) == 2
    assert "expected 32" in capsys.readouterr().err


@pytest.mark.parametrize("argv, line", [
    (["--what=step", "--objective=uda"], "--objective with --what=step: it has an effect with --what=memory or run or "),
    (["--what=run", "--threads=1"], "--threads with --what=run"),
    (["--what=memory", "--precision=float32"], "--precision with --what=memory"),
    (["--what=input", "--network=mlp"], "--network with --what=input")])
def test_a_flag_without_effect_is_refused(argv, line, capsys):
    with pytest.raises(SystemExit) as error:
        command.parse(argv)
    assert error.value.code == 2 and line in capsys.readouterr().err
