"""Classes of tf.keras.applications: their own preprocessing within the model, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import networks
from mpl_tf.networks import applications, weight_files
from tests import tiny


def preprocessing(mode, channels=3):
    image = tf.keras.Input((6, 5, channels))
    return tf.keras.Model(image, applications.preprocessed(image, mode))


@pytest.mark.parametrize("name, module", [
    ("ResNet50", "resnet50"), ("VGG16", "vgg16"), ("DenseNet121", "densenet"),
    ("MobileNetV2", "mobilenet_v2"), ("Xception", "xception"), ("NASNetMobile", "nasnet"),
    ("ResNet50V2", "resnet_v2"), ("InceptionV3", "inception_v3"), ("EfficientNetB0", "efficientnet"),
    ("EfficientNetV2B0", "efficientnet_v2"), ("ConvNeXtTiny", "convnext"),
    ("MobileNetV3Small", "mobilenet_v3")])
def test_the_preprocessing_is_that_of_keras_and_is_saved_without_code_of_ours(name, module, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [2, 6, 5, 3]).astype(np.float32)
    model = preprocessing(applications._MODE[name])
    model.save(tmp_path / "model.keras")
    assert b"mpl_tf" not in (tmp_path / "model.keras").read_bytes()
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    theirs = getattr(tf.keras.applications, module).preprocess_input(pixels.copy())
    for each in (model, loaded):
        np.testing.assert_allclose(each(pixels / 127.5 - 1).numpy(), theirs, atol=5e-5)
    assert model.weights == []


def test_a_grey_image_is_given_to_all_channels():
    grey = np.random.default_rng(0).uniform(-1, 1, [2, 6, 5, 1]).astype(np.float32)
    for mode in applications.MODES:
        np.testing.assert_array_equal(preprocessing(mode, 1)(grey).numpy(),
                                      preprocessing(mode)(np.repeat(grey, 3, -1)).numpy())


def test_every_class_of_keras_has_a_mode_and_there_are_no_others():
    theirs = {name for name in dir(tf.keras.applications) if name[0].isupper()}
    assert theirs <= set(applications._MODE)
    gone = {name for name in applications._MODE if name.startswith(("RegNet", "ResNetRS"))}
    assert set(applications._MODE) - theirs <= gone     # of Keras 2 only


@pytest.mark.parametrize("name, module, features", [
    ("VGG16", "vgg16", 512), pytest.param("MobileNetV2", "mobilenet_v2", 1280, marks=pytest.mark.slow)])
def test_a_backbone_gives_the_features_of_keras_own(name, module, features):
    tf.keras.utils.set_random_seed(0)
    ours = applications.backbone(f"keras.applications:{name}", (32, 32, 3))
    theirs = getattr(tf.keras.applications, name)(include_top=False, weights=None, pooling="avg",
                                                  input_shape=(32, 32, 3))
    theirs.set_weights(ours.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3]).astype(np.float32)
    expected = theirs(getattr(tf.keras.applications, module).preprocess_input(pixels.copy())).numpy()
    assert np.ptp(expected) > 1e-13 and ours.output_shape == (None, features)
    np.testing.assert_allclose(ours(pixels / 127.5 - 1), expected, rtol=1e-3,
                               atol=1e-4 * np.abs(expected).max())


def test_equal_seeds_give_equal_weights_and_disturb_no_one_else():
    np.random.seed(3)
    first = np.random.get_state()[1].copy()
    one, same, other = (networks.build("keras.applications:VGG16", 5, (32, 32, 1), seed=seed)
                        for seed in (4, 4, 5))
    assert (np.random.get_state()[1] == first).all()
    values = [[weight.numpy() for weight in each.trainable_weights] for each in (one, same, other)]
    assert all(np.array_equal(a, b) for a, b in zip(values[0], values[1]))
    assert not np.array_equal(values[0][0], values[2][0])
    assert not np.array_equal(values[0][-2], values[2][-2])      # the head's
    assert one.output_shape == (None, 5) and one.count_params() == same.count_params()


@pytest.mark.parametrize("name, shape, words", [
    ("MobilNetV2", (32, 32, 3), "no class 'MobilNetV2' .* such as .*keras.applications:MobileNetV2"),
    ("nothing", (32, 32, 3), "no class 'nothing' .* such as keras.applications:EfficientNetV2B0"),
    ("MobileNetV2", (8, 8, 3), r"cannot be built for images of shape \(8, 8, 3\).*larger images"),
    ("MobileNetV2", (32, 32, 4), "expected images of 1 or 3 channels")])
def test_what_cannot_be_is_one_line(name, shape, words):
    with pytest.raises(ValueError, match=words) as error:
        applications.backbone(name, shape)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_class_that_keras_cannot_load_again_is_refused():
    build = lambda: networks.build("keras.applications:ConvNeXtTiny", 5, (32, 32, 3))    # noqa: E731
    if tiny.KERAS_3:
        return build()
    with pytest.raises(ValueError, match="has layers .LayerScale. that Keras 2 cannot load"):
        build()


def test_weights_that_cannot_be_downloaded_are_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weight_files, "_HOST", "http://127.0.0.1:9/")      # nobody answers there
    with pytest.raises(ValueError, match="weights=imagenet of keras.applications:MobileNetV2 have to be"
                       " downloaded, and .* cannot be reached .*: connect to the internet"):
        applications.backbone("MobileNetV2", (32, 32, 3), "imagenet")


def test_weights_that_keras_has_downloaded_before_need_no_network(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnetv2-b0_notop.h5").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weight_files, "_HOST", "http://127.0.0.1:9/")
    weight_files.require_download("EfficientNetV2B0")
    with pytest.raises(ValueError, match="cannot be reached"):
        weight_files.require_download("EfficientNetV2B1")
