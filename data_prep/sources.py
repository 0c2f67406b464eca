"""Lists of class folders and of images in tar files; their order; how many shards they fill."""

import hashlib
import os
import tarfile

from mpl_tf.shards.image_files import SUFFIXES

SHARD_EXAMPLES, SHARD_BYTES = 10_000, 100_000_000      # about


def list_folders(folder):
    """Names of the folders in `folder`, linked ones too, sorted; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def list_tar(path):
    """Image files in an uncompressed tar file, which is not unpacked.

    Links, sparse files, folders, devices and files with a name that leads out of the archive are
    not looked at.

    Returns:
      (members, others): (name, byte at which it begins, bytes), sorted by name, and how many other
      files there are.

    Raises:
      ValueError: no tar file, a truncated or compressed one, or a name is there twice.
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
        raise ValueError(f"{path} is not a whole, uncompressed tar file ({error}): expected one, or "
                         "a folder; get it again, or unpack it with gunzip, bunzip2 or unxz "
                         "first") from error
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
    """`items` (tuples that begin with a name) in an order decided by seed, stream and the names.

    The order is that of a hash, so it is the same on every machine and with every NumPy.
    """
    def key(item):
        return hashlib.blake2b(f"{seed}\n{stream}\n{item[0]}".encode("utf-8", "surrogateescape"),
                               digest_size=16).digest()
    return sorted(items, key=key)


def shards_for(examples, size):
    """How many shards `examples` of together `size` bytes fill: at least 1."""
    return max(1, -(-examples // SHARD_EXAMPLES), min(-(-size // SHARD_BYTES), examples))


def read_text(path, flag):
    """Lines of a text file named by a flag, without the empty ones."""
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"--{flag}={path} cannot be read ({reason}): expected a text file") from error
