"""Sets of TensorFlow Datasets, from builders that are made here: a folder's, and generated ones."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mpl_tf import config, datasets
from mpl_tf.common import room
from mpl_tf.datasets import sources, tfds as tfds_files, tfds_sets
from mpl_tf.run import training
from tests.runs import settings

COUNTS = {"train": 30, "test": 9, "unlabelled": 20}


def pixels(split, i, size=10):
    """Image i of a split: its class is seen in its first row."""
    image = np.random.default_rng([i, len(split)]).integers(0, 256, [size, size, 3]).astype(np.uint8)
    image[0] = i % 3
    return image


def builder_of(name, features=None, splits=COUNTS, pair=("image", "label"), size=10):
    """The class of a builder; its examples are Image and label of 3 classes, unless told otherwise."""
    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            own = {"image": tfds.features.Image(shape=(size, size, 3)),
                   "label": tfds.features.ClassLabel(names=["one", "two", "three"]), "id": np.int64}
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(own if features is None else features),
                supervised_keys=pair)

        def _split_generators(self, manager):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            for i in range(splits[split]):
                label = -1 if split == "unlabelled" else i % 3
                whole = {"image": pixels(split, i, size), "label": label, "id": i, "text": "x",
                         "mask": pixels(split, i, size)}
                yield i, {key: whole[key] for key in features or ("image", "label", "id")}

    Made.__name__ = Made.name = name
    return Made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """TFDS's folder with the prepared set `made_squares`; what prepared it is unknown to TFDS."""
    folder = str(tmp_path_factory.mktemp("tfds"))
    builder_of("made_squares")(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder SPLIT/CLASS/IMAGE of pictures of several sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 6), ("validation", 3), ("unlabeled", 5)):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(pixels(split, i, 20)[:, :20 - i]).save(
                    folder / split / label / f"{i}.png")
    return str(folder)


def of(split):
    return {pixels(split, i).tobytes(): i % 3 for i in range(COUNTS[split])}


def test_a_prepared_set_is_read_with_its_unlabeled_split(prepared):
    data = datasets.load("tfds:made_squares", data_dir=prepared, labeled_examples=12)
    assert (data.num_classes, data.class_names, data.flip) == (3, ("one", "two", "three"), True)
    assert np.bincount(data.labeled.labels).tolist() == [4, 4, 4]
    for split, name in ((data.labeled, "train"), (data.test, "test")):
        assert [of(name)[image.tobytes()] for image in split.images] == split.labels.tolist()
    assert len(data.test.labels) == 9 and data.unlabeled.shape == (50, 10, 10, 3)
    assert {image.tobytes() for image in data.unlabeled} == {*of("train"), *of("unlabelled")}
    assert len(datasets.load("tfds:made_squares", data_dir=prepared).labeled.labels) == 30      # all
    again = datasets.load("tfds:made_squares:1.0.0", data_dir=prepared, labeled_examples=12)
    assert datasets.describe(again) == datasets.describe(data)


def test_splits_are_named_by_flags_and_may_be_parts(prepared):
    data = datasets.load("tfds:made_squares", data_dir=prepared, train_split="train[:50%]",
                         test_split="train[50%:]", unlabeled_split="none")
    assert (len(data.labeled.labels), len(data.test.labels), len(data.unlabeled)) == (15, 15, 15)
    seen = {image.tobytes() for image in data.labeled.images}
    assert not seen & {image.tobytes() for image in data.test.images}


def test_a_folder_of_pictures_by_tfds_own_builder(pictures):
    data = datasets.load("tfds:image_folder", data_dir=pictures, image_size=8)
    assert data.class_names == ("cat", "dog") and data.labeled.images.shape == (12, 8, 8, 3)
    assert len(data.test.labels) == 6 and len(data.unlabeled) == 22      # validation, unlabeled
    builder = tfds.folder_dataset.ImageFolder(pictures)
    names, splits = tfds_sets.read(builder, image_size=8)
    np.testing.assert_array_equal(splits["test"].images, data.test.images)
    picture = Image.fromarray(pixels("validation", 2, 20)[:, :18])      # 18 x 20 pixels
    expected = np.asarray(picture.resize((8, 8), Image.BILINEAR, box=(0, 1, 18, 19)))
    assert any(np.array_equal(expected, image) for image in data.test.images)
    with pytest.raises(ValueError, match="images are of several sizes.*--image_size=64"):
        tfds_sets.read(builder)


@pytest.mark.slow
def test_a_run_on_a_prepared_set_knows_its_classes(prepared, tmp_path):
    run = settings(tmp_path / "run", dataset="tfds:made_squares", data_dir=prepared, labeled_examples=12,
                   student_network="mlp-8", train_steps=2, eval_steps=2, unlabeled_batch_size=24)
    assert 0 <= training.run(run)["student_test_accuracy"] <= 1
    assert "three" in (tmp_path / "run" / "classes.json").read_text()


def prepare(folder, name, **facts):
    builder_of(name, **facts)(data_dir=str(folder)).download_and_prepare()
    return f"tfds:{name}"


IMAGE, LABEL = tfds.features.Image(shape=(10, 10, 3)), tfds.features.ClassLabel(num_classes=3)


@pytest.mark.parametrize("facts, words", [
    (dict(features={"label": LABEL}), "no images: expected .* its features are label;"),
    (dict(features={"image": IMAGE, "id": np.int64}), "no labels: expected .* are id, image;"),
    (dict(features={"mask": IMAGE, "text": tfds.features.Text()}), "no labels"),
    (dict(splits={"train": 6, "extra": 3}), r"no split test or validation, only .*: add '--train_split="),
    (dict(splits={"test": 6}), "--train_split=train: .* has no such split, only test")])
def test_sets_that_cannot_be_used_are_one_line(facts, words, tmp_path):
    name = prepare(tmp_path, "made_odd", **{"pair": None, **facts})
    with pytest.raises(ValueError, match=words) as error:
        datasets.load(name, data_dir=tmp_path)
    assert "\n" not in str(error.value) and "tfds:made_odd" in str(error.value)


@pytest.mark.parametrize("name, options, words", [
    ("made_squires", {}, "no such set, and there is none .*did you mean .*tfds:made_squares"),
    ("zzzzqqqqxxxx", {}, "no such set.*: see https://www.tensorflow.org/datasets/catalog"),
    ("cifar10:9.9.9", {}, "cannot be loaded at version 9.9.9"), ("cifar100/x", {}, "BuilderConfig x not"),
    ("imdb_reviews", {}, "no images: expected one image"),
    ("made_squares", {"test_split": "tset"}, "--test_split=tset: .* no such split, only train, test"),
    ("made_squares", {"train_split": "train[:1%"}, "--train_split=train.:1%: .* no such split"),
    ("made_squares", {"unlabeled_split": "more"}, "--unlabeled_split=more: .* no such split"),
    ("made_squares", {"test_split": "train"}, "--test_split=train is the test split|test split"),
    ("image_folder", {"data_dir": None}, "expected a folder SPLIT/CLASS/IMAGE")])
def test_wrong_names_are_one_line(name, options, words, prepared):
    with pytest.raises(ValueError, match=words) as error:
        datasets.load(f"tfds:{name}", **{"data_dir": prepared, **options})
    assert "\n" not in str(error.value)


def test_what_would_be_downloaded_is_refused_at_once_where_there_is_no_network(tmp_path, monkeypatch):
    def no_network(url):
        assert url.startswith("http")
        raise OSError("no route to host")

    monkeypatch.setattr(tfds_files, "require_network", no_network)
    with pytest.raises(FileNotFoundError, match="tfds:cifar100 is not prepared in .*, and TensorFlow "
                       "Datasets cannot download .*no route to host.*--data_dir") as error:
        datasets.load("tfds:cifar100", data_dir=tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_what_is_larger_than_memory_is_refused_before_it_is_read(prepared, monkeypatch):
    monkeypatch.setattr(room, "memory", lambda: 30_000)
    monkeypatch.setattr(tfds_sets, "_read_split", None)
    with pytest.raises(ValueError, match="59 images of 10 pixels take .* `python -m "
                       "data_prep.image_folder`"):
        datasets.load("tfds:made_squares", data_dir=prepared)


def test_damaged_files_are_one_line(tmp_path):
    name = prepare(tmp_path, "made_damaged", splits={"train": 6, "test": 3})
    [file] = tmp_path.rglob("*test.tfrecord*")
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(ValueError, match="its split test cannot be read .*: prepare it again") as error:
        datasets.load(name, data_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_flags_know_the_names(prepared):
    parse = lambda *flags: config.parse(["--model_dir=m", *flags])      # noqa: E731
    c = parse("--dataset=tfds:cifar100", "--test_split=test[:50%]", "--student_network=wrn-10-1")
    assert not c.source.points and c.labeled_examples == 0 and c.source.flip
    assert not sources.find("tfds:mnist").flip and not sources.find("tfds:svhn_cropped").flip
    for flags, words in (
            (["--dataset=tfds:"], "--dataset=tfds:: expected tfds:NAME./CONFIG...VERSION., such as"),
            (["--dataset=tfds:../x"], "expected tfds:NAME"), (["--dataset=tfds"], "expected one of"),
            (["--dataset=digits", "--test_split=test"], "--test_split=test has no effect with"),
            (["--dataset=tfds:x", "--image_size=4"], "--image_size=4: expected at least 8"),
            (["--dataset=tfds:x", "--student_network=rbf"], "expected a network of images")):
        with pytest.raises(ValueError, match=words):
            parse(*flags)


@pytest.mark.parametrize("name, base", [("cifar100", (400, 0.001)), ("stl10", (40, 0.0005))])
def test_the_flag_files_are_usbs_settings(name, base):
    c = config.parse([f"--flagfile={name}.cfg"])
    assert (c.labeled_examples, c.student_weight_decay) == base and c.dataset == f"tfds:{name}"
    assert (c.batch_size, c.unlabeled_batch_size, c.train_steps) == (64, 7 * 64, 2 ** 20)
    assert c.student_learning_rate == c.teacher_learning_rate == 0.03 and c.momentum == 0.9
