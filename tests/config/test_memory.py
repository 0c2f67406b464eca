"""What no machine can hold, or not this one, is refused with its flag before anything is read."""

import pytest

from mpl_tf import config, evaluate
from mpl_tf.common import room
from mpl_tf.config import memory
from mpl_tf.config.flags import FIELDS
from mpl_tf.reduced import chain

LARGE = ("--dataset=cifar10", "--method=baseline", "--objective=supervised", "--batch_size=1000000")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of 48 GB without an accelerator."""
    monkeypatch.setattr(room, "memory", lambda: 48 * 10 ** 9)
    monkeypatch.setattr(memory, "accelerated", lambda: False)


def refusal(*arguments):
    with pytest.raises(ValueError) as caught:
        config.from_arguments(["--model_dir=x", *arguments])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.type is int])
def test_every_whole_number_has_a_range_that_is_named(name):
    assert 1 <= FIELDS[name].metadata["at_most"] < 2 ** 31
    for value in (10 ** 12, 2 ** 64, 10 ** 400, "9" * 5000):
        said = refusal(f"--{name}={value}")
        assert said.startswith(f"--{name}=") and (
            f"and at most {FIELDS[name].metadata['at_most']}" in said)
    with pytest.raises(ValueError, match=f"--{name}=a number of"):
        config.of(**{name: 10 ** 5000})


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.type is float])
def test_no_number_is_beyond_32_bits(name):
    said = refusal(f"--{name}=1e300")
    assert said.startswith(f"--{name}=1e+300: expected a number") and (
        "at most" in said or "below" in said)
    with pytest.raises(ValueError, match=f"--{name}=a number of 1329 bits: expected a number"):
        config.of(**{name: 10 ** 400})


@pytest.mark.parametrize("arguments, words", [
    (["--batch_size=1000000000000"], "--batch_size=1000000000000: expected a whole number, at least "
     "1 and at most 1000000"),
    (["--student_network=mlp-99999999999"], "--student_network=mlp-99999999999: a hidden layer of"),
    (["--student_network=wrn-100000000-1"], "--student_network=wrn-100000000-1: wide ResNet of depth"),
    (["--student_network=mlp-" + "9" * 5000], "... (5004 characters): a hidden layer of"),
    (["--student_network=mlp-100000-100000"], "--student_network=mlp-100000-100000 has 10,007,600,010"
     " weights, which with their gradients take 80.1 GB, and this machine has 48.0 GB of memory"),
    (["--teacher_network=wrn-28-300"], "--teacher_network=wrn-28-300 has "),
    ([*LARGE], "--batch_size=1000000 examples in wrn-28-2 keep"),
    (["--dataset=cifar10", "--unlabeled_batch_size=50000"], "--unlabeled_batch_size=50000 examples in"),
    (["--dataset=cifar10", "--method=baseline", "--student_network=efficientnet-b0",
      "--unlabeled_dir=.", "--image_size=32"], "--image_size=32 has no effect"),
    (["--dataset=image_folder", "--data_dir=.", "--student_network=efficientnet-b0",
      "--image_size=10000", "--batch_size=64"], "--batch_size=64 examples of shape [10000, 10000, 3] "
     "take 76.8 GB"),
])
def test_what_does_not_fit_is_one_line_with_its_flag(arguments, words):
    assert refusal(*arguments).startswith(words) or words in refusal(*arguments)


def test_what_fits_is_let_be(monkeypatch):
    for name in ("cifar10.cfg", "imagenet.cfg", "digits.cfg", "two_moons.cfg", "imagenet_full.cfg"):
        given = config.parse(["--model_dir=x", f"--flagfile={name}"])
        assert list(memory.shortages(given)) == [], name
    monkeypatch.setattr(memory, "accelerated", lambda: True)    # whose memory is not known here
    given = config.parse(["--model_dir=x", *LARGE])
    assert list(memory.shortages(given)) == []
    monkeypatch.setattr(room, "memory", lambda: None)
    assert list(memory.shortages(config.parse(
        ["--model_dir=x", "--student_network=mlp-100000-100000"]))) == []


def test_slices_fit_where_the_batch_does_not():
    large = ["--dataset=cifar10", "--unlabeled_batch_size=50000", "--batch_size=50000"]
    assert refusal(*large).endswith("use a smaller batch or --meta_gradient=jvp and a --microbatch_size")
    config.from_arguments(["--model_dir=x", *large, "--meta_gradient=jvp", "--microbatch_size=100"])


def test_a_run_of_a_large_machine_may_be_evaluated_on_a_small_one(monkeypatch):
    monkeypatch.setattr(room, "memory", lambda: 1000)
    given = config.from_arguments(["--model_dir=x"], only=evaluate.FLAGS)
    assert "--student_network=small_conv has" in next(memory.shortages(given))


def test_a_chain_looks_before_the_large_network_trains():
    chosen, others = chain.parse(["--flagfile=reduced_digits.cfg", "--model_dir=x",
                                  "--student_network=mlp-100000-100000"])
    with pytest.raises(ValueError, match="--student_network=mlp-100000-100000 has 10,0.* weights"):
        chain.configs(chosen, others)


def test_this_machine_says_what_it_has(monkeypatch):
    monkeypatch.undo()
    assert 10 ** 8 < room.memory() < 10 ** 14
