"""Lists class folders and images in tar files, shuffles lists, and chooses numbers of shards."""

import dataclasses
import hashlib
import os
import tarfile

from mpl_tf.common import formats
from mpl_tf.shards.image_files import SUFFIXES

SHARD_EXAMPLES, SHARD_BYTES = 10_000, 100_000_000      # a shard has about as many at most


@dataclasses.dataclass
class Found:
    """The images of a user's folder, by class folders or by a labels file.

    Attributes:
      class_names: a list of str.
      train: [(relative path, label)]. test: likewise, or None where a part of train shall be it.
      unlabeled: relative paths, or None. lines: of what has to be said of them.
      left_out: a listing.Listing of other files.
      place, more: how to name a class, and how to give it more images, in an error.
      test_note: what the test images are, for dataset.json.
      unlabeled_place: where the unlabeled images lie, for an error.
      later: names of those of `train` that came after the folders' own: a test set is drawn without them.
      more_test: as `test`; they join a test set that is drawn.
    """
    class_names: list
    train: list
    test: list
    unlabeled: list
    lines: list
    left_out: object
    place: str
    more: str
    test_note: str
    unlabeled_place: str
    later: frozenset = frozenset()
    more_test: tuple = ()


def list_folders(folder):
    """Sorted names of the folders in `folder`, linked ones included, hidden ones left out."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def list_tar(path):
    """Lists the image files in an uncompressed tar file without unpacking it.

    Links, sparse files, devices and files whose name leads out of the archive are never read.

    Returns:
      (members, others): list of (name, position of its first byte, size in bytes), sorted by name,
      and the number of other files.

    Raises:
      ValueError: the file is no tar file, is truncated or compressed, or has a name twice.
    """
    members, others = [], 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = os.path.normpath(member.name).replace(os.sep, "/")
                if member.isdir() or name.rpartition("/")[2].startswith("."):
                    continue
                leads_out = name.startswith("/") or name.split("/")[0] == ".."
                if (member.isreg() and not member.issparse() and not leads_out
                        and name.lower().endswith(SUFFIXES)):
                    members.append((name, member.offset_data, member.size))
                else:
                    others += 1
    except (tarfile.TarError, EOFError, ValueError) as error:
        what = formats.of_file(path)
        raise ValueError(f"{path} is not a whole, uncompressed tar file "
                         f"({'it is ' + what + '; ' if what else ''}{' '.join(str(error).split())}): "
                         "expected one, or a folder; get it again, or unpack it with gunzip, bunzip2 "
                         "or unxz first") from error
    end = max((begin + size for _, begin, size in members), default=0)
    if end > os.path.getsize(path):
        raise ValueError(f"{path} ends at byte {os.path.getsize(path)}, inside an image that goes "
                         f"to byte {end}: it is truncated; get it again")
    members.sort()
    for first, second in zip(members, members[1:]):
        if first[0] == second[0]:
            raise ValueError(f"{path} has {first[0]!r} twice: expected each image once; make the "
                             "archive again")
    return members, others


def shuffled(items, seed, stream=""):
    """Sorts `items`, tuples that begin with a name, by a hash of seed, stream and name.

    So the order is the same on every machine and with every NumPy.
    """
    def key(item):
        return hashlib.blake2b(f"{seed}\n{stream}\n{item[0]}".encode("utf-8", "surrogateescape"),
                               digest_size=16).digest()
    return sorted(items, key=key)


def shards_for(examples, size):
    """How many shards, at least 1, to write of `examples` examples with `size` bytes in all."""
    return max(1, -(-examples // SHARD_EXAMPLES), min(-(-size // SHARD_BYTES), examples))


def read_text(path, flag):
    """Reads the non-empty lines of a text file; `flag`, which names it, is for an error."""
    try:
        with open(path, encoding="utf-8-sig") as file:      # editors may write a byte-order mark
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"--{flag}={path} cannot be read ({reason}): expected a text file") from error
