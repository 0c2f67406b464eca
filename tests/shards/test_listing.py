"""What lies in a folder of images, with its links."""

import os

import pytest

from mpl_tf.shards.listing import list_images
from tests.prep import put


def test_files_are_listed_at_any_depth_and_what_is_left_out_is_told(tmp_path):
    for name in ("b.JPG", "a/deep/c.png", "a/z.ppm", "._b.jpg", ".Trashes/d.png", "a/.x/y/e.gif",
                 "note.txt", "a/no_suffix", "a/.DS_Store"):
        put(str(tmp_path / name), "x")
    os.symlink(tmp_path / "b.JPG", tmp_path / "linked.jpg")
    os.symlink(tmp_path / "absent.jpg", tmp_path / "gone.jpg")
    os.symlink("itself", tmp_path / "itself")
    found = list_images(str(tmp_path))
    assert found.names == ["a/deep/c.png", "a/z.ppm", "b.JPG", "linked.jpg"]
    assert found.others == ["a/no_suffix", "note.txt"]
    assert found.hidden == [".Trashes", "._b.jpg", "a/.DS_Store", "a/.x"] and not found.again
    assert found.broken == ["gone.jpg", "itself"]
    others, hidden, broken = found.left_out("in/")
    assert others == "2 files that are no images by their name are left out, such as in/a/no_suffix"
    assert hidden.startswith("4 hidden files or folders are left out, such as in/.Trashes: ")
    assert broken.startswith("2 links lead nowhere, such as in/gone.jpg: ")
    here = list_images(str(tmp_path), deep=False)
    assert here.names == ["b.JPG", "linked.jpg"] and here.others == ["note.txt"]


@pytest.fixture
def linked(tmp_path):
    """root/ with a real folder, and beside it pool/ and far/, which links lead to."""
    for name in ("root/real/1.jpg", "pool/2.jpg", "pool/deep/3.jpg", "far/4.jpg"):
        put(str(tmp_path / name), name)
    return tmp_path


def test_linked_folders_are_read_once(linked):
    os.symlink(linked / "pool", linked / "root" / "z")
    os.symlink(linked / "far", linked / "pool" / "a")
    os.symlink(linked / "far", linked / "root" / "zz")     # fewer links lead there than by z/a
    os.symlink(linked / "root" / "real", linked / "root" / "another")
    found = list_images(linked / "root")
    assert found.names == ["real/1.jpg", "z/2.jpg", "z/deep/3.jpg", "zz/4.jpg"]
    assert found.again == ["another", "z/a"] and not found.others
    assert found.left_out()[0].startswith("2 linked folders are not read again, such as another: ")


def test_links_that_lead_round_or_up_are_not_followed(linked):
    for name, target in (("root/real/self", "root/real"), ("root/up", "root"), ("root/top", "."),
                         ("root/pool", "pool"), ("pool/back", "root"), ("root/slash", "/")):
        os.symlink(linked / target, linked / name, target_is_directory=True)
    put(str(linked / "root" / "real" / "b" / "5.jpg"), "x")
    found = list_images(linked / "root")
    assert found.names == ["pool/2.jpg", "pool/deep/3.jpg", "real/1.jpg", "real/b/5.jpg"]
    assert found.again == ["pool/back", "real/self", "slash", "top", "up"]
    os.symlink(linked / "root" / "real", linked / "alias")     # the folder itself is a link
    os.symlink(linked / "root", linked / "root" / "real" / "above")
    assert list_images(linked / "alias").names == ["1.jpg", "b/5.jpg"]
