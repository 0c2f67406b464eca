"""Finds image files that are the same, byte for byte, and what that means for a data set.

Only files of equal size are looked at, and only those of equal ends are read to the end.
"""

import collections
import hashlib
import os

from mpl_tf.common import storage
from mpl_tf.common.bar import Bar
from mpl_tf.common.command import counted
from mpl_tf.datasets.shard_sets import TEST_SPLITS
from mpl_tf.shards import image_files, schema, tfrecord
from mpl_tf.shards.listing import list_images

_END = 4096     # bytes


def same_files(folder, names):
    """Returns {name: number} of those files in `folder` that are not alone of their bytes.

    Equal files have the same number. A file that cannot be read is left out: whoever reads it next
    says so.
    """
    def apart(groups, key, bar):
        parts = []
        for group in groups:
            by_key = collections.defaultdict(list)
            for name in group:
                try:
                    by_key[key(os.path.join(folder, name))].append(name)
                except OSError:
                    continue
                finally:
                    bar.update(1)
            parts += [part for part in by_key.values() if len(part) > 1]
        return parts

    groups = [sorted(names)]
    for key in (os.path.getsize, _end, storage.sha256):
        with Bar(sum(map(len, groups)), " files", "looking for equal images") as bar:
            groups = apart(groups, key, bar)
    return {name: number for number, group in enumerate(groups) for name in group}


def _end(path):
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _END))
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def grouped(items, same):
    """Groups `items`, tuples that begin with a name, by equal files; the first ones' order stays."""
    groups = {}
    for item in items:
        groups.setdefault(same.get(item[0], item[0]), []).append(item)
    return list(groups.values())


def conflicts(folder, train, test, same):
    """Finds images that have two labels, or that are trained on and tested with.

    Args:
      folder: the folder of the files. train, test: [(name, label)]. same: of `same_files`.

    Returns:
      (two_labels, both): lists with a pair of names for each such image. Equal files that are no
      images, such as empty ones, are in neither.
    """
    members = collections.defaultdict(list)
    for split, part in enumerate((train, test)):
        for name, label in part:
            if name in same:
                members[same[name]].append((name, label, split))
    two_labels, both = [], []
    for group in members.values():
        first = group[0]
        label = next((each for each in group if each[1] != first[1]), None)
        other = label or next((each for each in group if each[2] != first[2]), None)
        if other and is_image(os.path.join(folder, first[0])):
            (two_labels if label else both).append((first[0], other[0]))
    return two_labels, both


def is_image(path):
    """Whether the file `path` is an image that can be read."""
    try:
        with open(path, "rb") as file:
            image_files.convert(file.read())
    except (ValueError, OSError):
        return False
    return True


def refuse(two_labels, both, remedy):
    """Raises ValueError, in one line that ends with `remedy`, if there are such pairs of names."""
    if two_labels or both:
        counts = [f"{len(pairs)} {what}" for pairs, what in (
            (two_labels, "labeled in two classes"), (both, "both to train on and to test with"))
            if pairs]
        first, second = (two_labels or both)[0]
        raise ValueError(f"{first} and {second} are the same image, byte for byte (found in all: "
                         f"{', '.join(counts)}): {remedy}")


def split_unlabeled(unlabeled, train, test, same):
    """Leaves the test images out of the unlabeled ones.

    Args:
      unlabeled: names. train, test: [(name, label)]. same: of `same_files`.

    Returns:
      (names that are left, lines that say what is equal, a dict of counts).
    """
    of_test = {same[name]: name for name, _ in test if name in same}
    of_train = {same[name] for name, _ in train if name in same}
    out = [name for name in unlabeled if same.get(name) in of_test]
    left = [name for name in unlabeled if same.get(name) not in of_test]
    known = sum(same.get(name) in of_train for name in left)
    copies = [group for items in ([(name,) for name in left],
                                  *([item for item in part if item[1] == label] for part in
                                    (train, test) for label in {item[1] for item in part}))
              for group in grouped(items, same) if len(group) > 1]
    lines = []
    if out:
        lines.append(counted(len(out), "unlabeled image is a test image", "unlabeled images are test images")
                     + f" too, byte for byte, such as {out[0]} ({of_test[same[out[0]]]}): left out of the "
                     "unlabeled ones")
    if known:
        lines.append(counted(known, "unlabeled image is a labeled one",
                             "unlabeled images are labeled ones") + " too, which does no harm")
    if copies:
        lines.append(counted(sum(map(len, copies)) - len(copies), "image is a copy", "images are copies")
                     + f" of another of the same class or of unlabeled/, such as {copies[0][1][0]} of "
                     f"{copies[0][0][0]}: each copy counts as an image")
    return left, lines, {"test_images_left_out_of_unlabeled": len(out)}


def test_images(folder):
    """{(size in bytes, sha256)} of a folder's test images.

    They are those in the shards of test and validation, or where there are no shards all image
    files. ValueError, in one line, if there are none.
    """
    splits = tfrecord.find_splits(folder)
    found = set()
    if splits:
        for path in (path for split in TEST_SPLITS if split in splits
                     for path in tfrecord.find_shards(folder, split)):
            for number, (offset, length) in enumerate(zip(*tfrecord.scan(path))):
                encoded = schema.decode(tfrecord.read(path, offset, length, number),
                                        tfrecord.position(path, number, offset), labels=False).encoded
                found.add((len(encoded), hashlib.sha256(encoded).hexdigest()))
    else:
        for path in (os.path.join(folder, name) for name in list_images(folder).names):
            found.add((os.path.getsize(path), storage.sha256(path)))
    if not found:
        raise ValueError(f"--exclude_dir={folder} has no test images: expected shards of "
                         f"{' or '.join(TEST_SPLITS)}, or a folder of image files")
    return found


def without(items, sizes, digest, excluded):
    """Leaves out those of `items`, of `sizes` bytes, that are in `excluded`; (left, number out).

    Args:
      digest: function item -> sha256. excluded: of `test_images`.
    """
    lengths = {size for size, _ in excluded}
    left = []
    with Bar(len(items), " files", "looking for test images") as bar:
        for item, size in zip(items, sizes):
            if size not in lengths or (size, digest(item)) not in excluded:
                left.append((item, size))
            bar.update(1)
    return left, len(items) - len(left)
