"""An exported student is loaded in one place, and refused in one line where it does not fit."""

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf import config, datasets
from mpl_tf.run import run_folder
from mpl_tf.run.serving import Served, view_of
from tests.conftest import ROOT
from tests.runs import settings

RUN = str(ROOT / "tests" / "fixtures" / "before_packages" / "finished")


def test_it_gives_what_the_saved_model_gives():
    images = datasets.load("digits").test.images[:5]
    served = Served(RUN, 8, 10)
    assert served.shape == (8, 8, 1)
    direct = tf.saved_model.load(f"{RUN}/saved_model").signatures["serving_uint8"]
    np.testing.assert_array_equal(
        served(images), direct(image=tf.constant(images))["probabilities"])


@pytest.mark.parametrize("size, num_classes, said", [
    (9, 10, "takes images of 8 pixels and gives 10 classes, but its flags .* say 9 and 10"),
    (8, 11, "say 8 and 11: train it again"), (9, None, "say 9 and 10")])
def test_another_size_or_number_of_classes_is_refused(size, num_classes, said):
    with pytest.raises(ValueError, match=said) as error:
        Served(RUN, size, num_classes)
    assert "\n" not in str(error.value)


def test_one_that_classifies_no_images_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"))
    with pytest.raises(ValueError, match="cannot be read .*serving_uint8.*: see that .* move results.json out") as error:
        Served(str(tmp_path), 8)
    assert "\n" not in str(error.value)


def test_how_a_run_evaluates_an_image(tmp_path):
    of_digits = config.of(**run_folder.read_flags(RUN))
    assert view_of(of_digits) == {"size": 8, "crop": "whole"}
    of_photographs = settings(tmp_path, dataset="image_folder", data_dir=str(tmp_path),
                              image_size=24)
    assert view_of(of_photographs) == {"size": 24, "crop": "inception"}
