"""Batches are functions of (seed, step): resumed, replicated, repeated in another process."""

import dataclasses
import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import mpl_tf
from mpl_tf import data, datasets
from mpl_tf.data import augment
from tests import tiny
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def flat(batch):
    return {f"{part}/{key}": value.numpy() for part, values in batch.items()
            for key, value in values.items()}


def take(dataset, count):
    return [flat(batch) for batch in itertools.islice(dataset, count)]


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=key)


def numbered(count):
    """A data set whose images and labels tell the example's number."""
    images = np.zeros([count, 8, 8, 3], np.uint8)
    images[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    split = datasets.Split(images[:20], np.arange(20))
    return datasets.Dataset("numbered", 20, tuple(map(str, range(20))), split, images, split)


@pytest.mark.parametrize("count", [1, 2, 6, 50, 1297])
def test_every_example_once_an_epoch_in_another_order(count):
    positions = tf.range(4 * count, dtype=tf.int64)
    examples, epochs = tf.function(data.examples_at)(positions, count, 0, 1)
    np.testing.assert_array_equal(epochs, np.arange(4 * count) // count)
    rounds = examples.numpy().reshape(4, count)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(np.arange(count), (4, 1)))
    other = data.examples_at(positions, count, 1, 1)[0].numpy()
    if count >= 50:
        assert len({row.tobytes() for row in rounds}) == 4
        assert (other != examples.numpy()).mean() > 0.9
        assert (rounds[:, :-1] + 1 == rounds[:, 1:]).mean() < 0.1


@pytest.mark.slow
def test_order_is_unbiased():
    count, epochs = 10, 3000
    positions = tf.range(count * epochs, dtype=tf.int64)
    order = data.examples_at(positions, count, 0, 2)[0].numpy().reshape(epochs, count)
    hits = np.stack([np.bincount(column, minlength=count) for column in order.T])
    expected = epochs / count
    assert ((hits - expected) ** 2 / expected).sum() < 140    # 81 freedoms: 99.995 % are below


def test_structure_shapes_and_normalisation(digits):
    train = data.train_dataset(digits, batch_size=16, unlabeled_batch_size=24, labeled_strong=True)
    spec = train.element_spec
    image = (8, 8, 1)
    assert spec["labeled"] == {"image": tf.TensorSpec((16, *image)), "augmented": tf.TensorSpec(
        (16, *image)), "label": tf.TensorSpec((16,), tf.int64)}
    assert spec["unlabeled"] == {"image": tf.TensorSpec((24, *image)),
                                 "augmented": tf.TensorSpec((24, *image))}
    batch = take(train, 1)[0]
    assert all(abs(v).max() <= 1 for k, v in batch.items() if "label" != k[-5:])
    assert batch["unlabeled/image"].min() == -1 and batch["unlabeled/image"].max() == 1
    assert (batch["unlabeled/image"] != batch["unlabeled/augmented"]).mean() > 0.2
    plain = data.train_dataset(digits, strong=False).element_spec
    assert set(plain["unlabeled"]) == {"image"} and set(plain["labeled"]) == {"image", "label"}


def test_labels_belong_to_images_and_epochs_are_whole():
    train = data.train_dataset(numbered(100), batch_size=30, unlabeled_batch_size=50, flip=True,
                               train_steps=8)
    batches = take(train, 100)
    assert len(batches) == 8 == int(train.cardinality())
    labeled = np.concatenate([b["labeled/label"] for b in batches])
    pixels = np.concatenate([b["labeled/image"] for b in batches])
    np.testing.assert_allclose((pixels[:, 3, 3, 0] + 1) * 127.5, labeled, atol=1e-4)
    assert np.bincount(labeled).tolist() == [12] * 20
    unlabeled = np.concatenate([b["unlabeled/image"] for b in batches])[:, 3, 3, 0]
    numbers = np.round((unlabeled + 1) * 127.5).astype(int)
    assert np.bincount(numbers).tolist() == [4] * 100
    assert np.bincount(numbers[:100]).tolist() == [1] * 100


def test_weak_views_move_the_image_by_at_most_the_padding(digits):
    weak = data.train_dataset(digits, batch_size=64, strong=False)
    still = data.train_dataset(digits, batch_size=64, strong=False, padding=0)
    moves = set()
    for moved, image in zip(take(weak, 3), take(still, 3)):
        for a, b in zip(moved["labeled/image"][..., 0], image["labeled/image"][..., 0]):
            padded = np.pad(b, 1, "reflect")
            found = [(y, x) for y in range(3) for x in range(3)
                     if np.array_equal(padded[y:y + 8, x:x + 8], a)]
            assert found
            moves.update(found)
    assert len(moves) == 9


def test_resumes_bit_for_bit(digits):
    whole = take(data.train_dataset(digits, batch_size=32, train_steps=7), 10)
    assert_same(whole[3:], take(data.train_dataset(digits, 32, start_step=3, train_steps=7), 10))
    endless = data.train_dataset(digits, batch_size=32)
    assert_same(whole, take(endless, 7))
    assert_same(whole, take(endless, 7))    # a second iterator starts where the first did


def test_seeds_and_options_keep_streams_apart(digits):
    both = take(data.train_dataset(digits, seed=1), 3)
    alone = take(data.train_dataset(digits, seed=1, unlabeled=False), 3)
    assert all(key.startswith("labeled") for key in alone[0])
    assert_same([{k: b[k] for k in alone[0]} for b in both], alone)
    weak = take(data.train_dataset(digits, seed=1, strong=False, unlabeled_batch_size=64), 3)
    assert_same([{k: b[k] for k in weak[0]} for b in both], weak)
    other = take(data.train_dataset(digits, seed=2), 3)
    assert (both[0]["unlabeled/image"] != other[0]["unlabeled/image"]).any()


@pytest.mark.parametrize("workers", [pytest.param((4,), marks=pytest.mark.slow), (1, 3)])
def test_replicas_see_what_one_device_would(workers, digits):
    sizes = dict(batch_size=16, unlabeled_batch_size=32, train_steps=3, randaugment_layers=1)
    single, steps = take(data.train_dataset(digits, **sizes), 3), [[] for _ in range(3)]
    for offset, local in zip(np.cumsum([0, *workers]), workers):
        elements = take(data.train_dataset(digits, **sizes, num_replicas=4, local_replicas=local,
                                           replica_offset=int(offset)), 100)
        assert len(elements) == 3 * local
        for index, element in enumerate(elements):
            steps[index // local].append(element)
    joined = [{k: np.concatenate([e[k] for e in elements]) for k in elements[0]}
              for elements in steps]
    assert_same(joined, single)


@pytest.mark.slow
def test_mirrored_strategy_gets_each_slice_once(digits):
    strategy = tiny.two_replicas()
    sizes = dict(batch_size=8, unlabeled_batch_size=10, train_steps=2, randaugment_layers=1)
    distributed = strategy.distribute_datasets_from_function(
        lambda context: data.train_dataset(digits, **sizes, num_replicas=2, local_replicas=2))
    joined = [flat(tf.nest.map_structure(
        lambda v: tf.concat(strategy.experimental_local_results(v), 0), batch))
        for batch in distributed]
    assert_same(joined, take(data.train_dataset(digits, **sizes), 2))


PROGRAM = """
import hashlib, itertools
from mpl_tf import data, datasets
digest = hashlib.sha256()
for batch in itertools.islice(data.train_dataset(datasets.load("digits"), labeled_strong=True), 4):
    for part in batch.values():
        for value in part.values():
            digest.update(value.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(digits):
    digest = hashlib.sha256()
    for batch in itertools.islice(data.train_dataset(digits, labeled_strong=True), 4):
        for part in batch.values():
            for value in part.values():
                digest.update(value.numpy().tobytes())
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    output = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment,
                            capture_output=True, text=True, check=True).stdout
    assert output.split()[-1] == digest.hexdigest()


@pytest.mark.parametrize("batch_size", [1, 64, 500, 1000])
def test_evaluation_sees_every_example_once_in_order(batch_size, digits):
    batches = list(data.eval_dataset(digits.test, batch_size))
    assert [len(label) for _, label in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate([l for _, l in batches]), digits.test.labels)
    np.testing.assert_allclose(np.concatenate([i for i, _ in batches]),
                               digits.test.images / 127.5 - 1, atol=1e-6)


def test_points_pass_unchanged_and_in_full_batches():
    moons = datasets.load("two_moons")
    train = data.train_dataset(moons, batch_size=6, unlabeled_batch_size=2000, strong=False)
    for batch in take(train, 2):
        order = np.lexsort(batch["unlabeled/image"].T)
        np.testing.assert_array_equal(batch["unlabeled/image"][order],
                                      moons.unlabeled[np.lexsort(moons.unlabeled.T)])
        assert np.bincount(batch["labeled/label"]).tolist() == [3, 3]
    points, _ = next(iter(data.eval_dataset(moons.test)))
    np.testing.assert_array_equal(points, moons.test.images[:500])


def test_images_are_no_constants_of_the_graph():
    images = numbered(2000)
    mapped = data.train_dataset(images, strong=False)
    while not hasattr(mapped, "_map_func"):
        mapped = mapped._input_dataset
    graph_bytes = mapped._map_func.function.graph.as_graph_def().ByteSize()
    assert graph_bytes < 100_000 < images.unlabeled.nbytes


@pytest.mark.parametrize("arguments, words", [
    (dict(unlabeled_batch_size=1298), "1298 is more than the 1297 unlabeled"),
    (dict(batch_size=0), "batch sizes 0 labeled"),
    (dict(batch_size=30, num_replicas=4), "30 labeled.*shared by 4 replicas.*multiples of 4"),
    (dict(num_replicas=2, replica_offset=1, local_replicas=2), "replicas 1 to 2 are not among 2"),
    (dict(start_step=5, train_steps=4), "start_step 5 and train_steps 4"),
    (dict(padding=8), "padding 8 is outside 0-7"),
    (dict(cutout=3), "cutout 3 must be even"),
    (dict(randaugment_operations="all"), "'all'.*published"),
    (dict(randaugment_magnitude=30.0), "magnitude 30.0"),
])
def test_impossible_batches_are_refused_in_one_line(arguments, words, digits):
    with pytest.raises(ValueError, match=words) as caught:
        data.train_dataset(digits, **arguments)
    assert "\n" not in str(caught.value)


def test_points_have_no_strong_view():
    with pytest.raises(ValueError, match="two_moons has points.*strong=False"):
        data.train_dataset(datasets.load("two_moons"), 6)
    with pytest.raises(ValueError, match="not positive"):
        data.eval_dataset(datasets.load("two_moons").test, 0)


@pytest.mark.parametrize("on_disk", [False, True])
def test_stored_distributions_go_with_their_examples(on_disk, tmp_path):
    """Of two moons: a function of the point, so a batch shows whose distribution it holds."""
    of = lambda points: np.exp(points) / np.exp(points).sum(1, keepdims=True)
    plain = datasets.load("two_moons")
    stored = {"labeled_probs": 0.998 * of(plain.labeled.images).astype("float16"),
              "unlabeled_probs": of(plain.unlabeled).astype("float16")}
    if on_disk:
        for name, values in stored.items():
            np.save(tmp_path / name, values)
        stored = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in stored}
    dataset = dataclasses.replace(plain, **stored)
    arguments = dict(batch_size=8, strong=False, train_steps=3)
    with_probs = take(data.train_dataset(dataset, **arguments), 3)
    without = take(data.train_dataset(plain, **arguments), 3)
    for batch, same in zip(with_probs, without):
        for part in ("labeled", "unlabeled"):
            probs = batch.pop(f"{part}/teacher_probs")
            assert probs.dtype == np.float32 and probs.shape == (8, 2)
            np.testing.assert_allclose(probs, of(batch[f"{part}/image"]), atol=1e-3)
            np.testing.assert_allclose(probs.sum(1), 1.0, atol=1e-6)
        assert_same([batch], [same])
    spec = data.train_dataset(dataset, **arguments).element_spec
    assert spec["unlabeled"]["teacher_probs"].shape == (8, 2)
    wrong = dataclasses.replace(plain, unlabeled_probs=np.ones([7, 2], "float32"))
    with pytest.raises(ValueError, match=r"unlabeled_probs of two_moons has shape \(7, 2\)"):
        data.train_dataset(wrong, **arguments)
