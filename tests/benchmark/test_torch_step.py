"""Our step beside PyTorch's: the same gradients, or one line; speeds are not asserted."""

import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf.benchmark
from mpl_tf import networks
from mpl_tf.benchmark import __main__ as command, beside_torch
from mpl_tf.common import command as cli

TINY = ["--what=torch", "--network=wrn-10-1", "--image_size=8", "--batch_size=4", "--rounds=1"]
WAYS = ["ours, jvp", "PyTorch, create_graph", "PyTorch, func.jvp"]


@pytest.fixture
def forgotten(monkeypatch):
    """PyTorch's side as if it had not been imported."""
    monkeypatch.delitem(sys.modules, "mpl_tf.benchmark.torch_step", raising=False)
    monkeypatch.delattr(mpl_tf.benchmark, "torch_step", raising=False)


def test_without_pytorch_one_line_says_how_to_get_it(forgotten, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert command.main(TINY) == 2
    said = capfd.readouterr()
    assert said.out == "" and said.err == (
        "error: --what=torch sets our step beside PyTorch's, and PyTorch is not installed: install it by "
        "pip install torch\n")


def test_a_pytorch_that_cannot_be_imported_is_another_line(forgotten, monkeypatch, tmp_path, capfd):
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.0: cannot open\\nshared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    assert command.main(TINY) == 2
    err = capfd.readouterr().err
    assert "cannot be imported (libcudart.so.0: cannot open shared object file): install" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag, words", [
    ("--network=small_conv", "--what=torch has PyTorch's counterpart of wrn-DEPTH-WIDTH only, such as wrn-28-2"),
    ("--precision=mixed_bfloat16", "--what=torch measures in float32"),
    ("--objective=uda", "--what=torch has the supervised objective"),
    ("--threads=0", "argument --threads: '0': expected a whole number of 1 or more")])
def test_what_it_does_not_measure_is_refused(flag, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.parse([*TINY, flag])
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and words in err and err.count("\n") == 1


def test_medians_and_ratios_are_those_of_the_rounds():
    rows = [*beside_torch.OURS, *beside_torch.THEIRS]
    seconds = lambda factor: {row: (factor * number, 2.0 * factor * number ** 2)
                              for number, row in enumerate(rows, start=1)}
    table = {row["step"]: row for row in beside_torch._table([seconds(1), seconds(9), seconds(3)])}
    assert list(table) == rows
    found = table["PyTorch, func.jvp"]      # the sixth; ours is the third, its supervised step the fourth
    assert found == {"step": "PyTorch, func.jvp", "wall_seconds": 18, "cpu_seconds": 216,
                     "wall_of_supervised": 1.5, "cpu_of_supervised": 2.25,
                     "wall_of_ours": 2, "cpu_of_ours": 4}
    assert table["ours, nested tape"]["cpu_of_supervised"] == 4
    assert table["ours, nested tape"]["cpu_of_ours"] is None


@pytest.fixture(scope="module")
def made():
    """(rows, batches) of tiny networks, with images of odd size, at whose ends strides leave other pixels.

    Both in float64. Tests may take steps as long as all rows take the same.
    """
    # PyTorch's threads wait for each other, and beside other processes for long.
    pytest.importorskip("mpl_tf.benchmark.torch_step").set_threads(1)
    with beside_torch.computing_in("float64"):
        return beside_torch.make_rows(command.parse([*TINY, "--image_size=9"]))


def test_the_same_weights_give_the_same_logits(made):
    import torch
    rows, batches = made
    for role, network in rows["ours, nested tape"].model.networks.items():
        ours = network(batches["ours, nested tape"]["labeled"]["image"], training=True).numpy()
        learner = rows["PyTorch, create_graph"]._learners[role]
        with torch.no_grad():
            theirs = learner.network(batches["PyTorch, create_graph"]["labeled"], moving=False).numpy()
        np.testing.assert_allclose(theirs, ours, atol=1e-9)
        assert np.ptp(ours) > 0.1


def test_the_exact_steps_are_the_same_with_momentum_too(made):
    """Keras rounds the rate and the momentum of float64 networks to float32."""
    with beside_torch.computing_in("float64"):
        for _ in range(2):
            meta_weight, found = beside_torch.differences(*made)
            assert meta_weight > 1 and list(found) == WAYS
            assert all(len(of_row) == 4 and max(of_row.values()) < 1e-6 for of_row in found.values())


def test_a_table_is_printed_after_the_steps_were_found_equal(made, monkeypatch, capsys):
    """With the rows of the test above, as tracing them takes seconds."""
    types = []
    monkeypatch.setattr(beside_torch, "cores", lambda: 1)
    monkeypatch.setattr(beside_torch, "make_rows", lambda _: types.append(tf.keras.backend.floatx()) or made)
    with mock.patch("tensorflow.keras.backend.clear_session"):
        table = beside_torch.measure_beside_torch(command.parse(TINY))
    assert types == ["float64", "float32"] and tf.keras.backend.floatx() == "float32"
    assert [row["step"] for row in table] == [*beside_torch.OURS, *beside_torch.THEIRS]
    lines = capsys.readouterr().out.splitlines()
    assert "wrn-10-1, 8 px, batch 4 + 4, 1 rounds" in lines[0] and "and PyTorch" in lines[0]
    assert [line[:23].strip() for line in lines[3:6]] == WAYS
    assert [line[:23].strip() for line in lines[8:]] == [row["step"] for row in table]
    assert all(row["wall_seconds"] > 0 and row["wall_of_supervised"] > 0 for row in table)


def test_a_step_that_differs_fails_in_one_line(monkeypatch, capfd):
    """A step without the meta gradient, whose new weights hardly tell; PyTorch is its own reference here."""
    torch_step = pytest.importorskip("mpl_tf.benchmark.torch_step")
    torch_step.set_threads(1)
    chosen = command.parse([*TINY, "--image_size=4", "--batch_size=3"])
    networks_ = {role: networks.build("wrn-10-1", 10, (4, 4, 3), seed=seed)
                 for role, seed in (("student", 1), ("teacher", 2))}
    draw = np.random.default_rng(0).normal
    batch = torch_step.batch_of(draw(size=(3, 4, 4, 3)).astype("float32"), np.arange(3),
                                draw(size=(3, 4, 4, 3)).astype("float32"))
    given = torch_step.MetaPseudoLabels.by_jvp

    def without(self, batch):
        self.meta_weight = 0.0
        given(self, batch)

    def outcome():
        rows = {row: beside_torch.Theirs(like, chosen, networks_) for row, like in (
            (beside_torch.REFERENCE, WAYS[1]), (WAYS[1], WAYS[1]), (WAYS[2], WAYS[2]))}
        return cli.run(lambda _: beside_torch.check(rows, dict.fromkeys(rows, batch)), [])

    assert outcome() == 0
    monkeypatch.setattr(torch_step.MetaPseudoLabels, "by_jvp", without)
    assert outcome() == 1
    err = capfd.readouterr().err
    assert err.startswith("error: PyTorch, func.jvp: the teacher's gradient differs from that of ours, nested "
                          "tape by ") and err.count("\n") == 1
