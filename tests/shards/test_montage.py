"""A sheet of small images: whatever their names hold, they are seen, and stay under their images."""

import numpy as np
import pytest

from mpl_tf.shards import montage

WHITE = np.full([montage.TILE, montage.TILE, 3], 255, np.uint8)


def words_of(captions):
    """What is drawn below white tiles: bool [14, 96] each."""
    drawn = np.asarray(montage.sheet([(text, WHITE) for text in captions]).convert("L")) < 128
    width, height = montage.TILE + 4, montage.TILE + 14
    assert not np.delete(drawn, np.s_[montage.TILE:height], axis=0)[:montage.TILE].any()
    assert not any(drawn[:, k * width + montage.TILE + 1:(k + 1) * width].any() for k in range(len(captions)))
    return [drawn[montage.TILE:height, k * width:k * width + montage.TILE] for k in range(len(captions))]


@pytest.mark.parametrize("name", ["$a_b$.jpg", "photos/summer of 2019/by the lake/IMG_0001.jpeg", "x\n\udcff\u202e.png",
                                  "W" * 300, "Äpfel_ёж.png"])
def test_a_caption_is_seen_and_stays_under_its_image(name):
    shown, other = words_of([name, ""])
    assert shown.any() and not other.any()


def test_names_that_differ_at_an_end_look_different():
    names = ["a_long_name_of_a_photograph_0001.jpg", "a_long_name_of_a_photograph_0002.jpg", "b_long_name_of_a_photograph_0001.jpg",
             "ä.jpg", "ö.jpg", "$x$", "x"]
    drawn = words_of(names)
    assert len({each.tobytes() for each in drawn}) == len(names)
