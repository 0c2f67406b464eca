"""What files are by their first bytes, and archives that are none, or far too many bytes."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from mpl_tf.common import formats
from mpl_tf.datasets import cifar10, svhn

PAGE = b"\n<!DOCTYPE html>\n<html><head>\n<title>404\nNot Found</title></head></html>"


def packed(kind, members):
    """The bytes of an archive of {name: bytes}."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return stream.getvalue()
    with tarfile.open(fileobj=stream, mode=f"w:{kind}") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("start, words", [
    (b"", "empty"), (PAGE, "a web page (HTML)"), (b"\xef\xbb\xbf<HTML>", "a web page (HTML)"),
    (b"<?xml version", "an XML document"), (gzip.compress(b"x"), "compressed by gzip"),
    (bz2.compress(b"x"), "compressed by bzip2"), (lzma.compress(b"x"), "compressed by xz"),
    (packed("zip", {"a": b"b"}), "a zip archive"), (packed("", {"a": b"b"}), "a tar archive"),
    *[(zlib.compress(bytes(99), level), "compressed by zlib") for level in (0, 1, 6, 9)],
    (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the file that it "
     "stands for"),
    (b"x is a letter", ""), (b"x", ""), (struct.pack("<Q", 0x78), ""), (bytes(512), "")],
    ids=lambda value: "start" if isinstance(value, bytes) else value or "unknown")
def test_a_file_is_known_by_its_first_bytes(start, words, tmp_path):
    assert formats.described(start[:512]) == words
    (tmp_path / "file").write_bytes(start)
    assert formats.of_file(tmp_path / "file") == words
    assert formats.of_file(tmp_path / "absent") == ""


ARCHIVES = {
    "web page": (lambda: PAGE, "it is a web page .HTML."),
    "empty": (lambda: b"", "it is empty"),
    "zip": (lambda: packed("zip", {cifar10.FOLDER + "/test_batch": b"x"}), "it is a zip archive"),
    "text": (lambda: b"no archive " * 99, "it is no tar archive"),
    "cut": (lambda: packed("gz", {"test_batch": np.random.default_rng(0).bytes(20000)})[:9000],
            "ended before the end-of-stream marker"),
    "gzip, no tar": (lambda: gzip.compress(b"something " * 999), "it is compressed by gzip"),
    "other tar": (lambda: packed("gz", {"imagenet/n01/a.JPEG": b"x"}),
                  "holds imagenet/n01/a.JPEG and no file of CIFAR-10"),
    "bomb": (lambda: packed("gz", {"a": bytes(3_000_000)}), "it unpacks to more than 1000000 bytes"),
    "bomb of zeros": (lambda: gzip.compress(b"\0" * 3_000_000),
                      ".compressed by gzip. holds nothing, only zeros or the end of a tar archive, and no"),
    "bomb in xz": (lambda: packed("xz", {"test_batch": bytes(3_000_000)}), "it unpacks to more"),
    # A header that says that the name of what follows takes three gigabytes.
    "long name": (lambda: gzip.compress(_long_name(3 << 30) + bytes(3_000_000)),
                  "it unpacks to more than 1000000 bytes"),
}


def _long_name(size):
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("what", ARCHIVES)
def test_another_file_under_the_name_of_the_archive_is_one_line(what, tmp_path, monkeypatch):
    make, words = ARCHIVES[what]
    monkeypatch.setattr(cifar10, "_MOST", 1_000_000)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(make())
    with pytest.raises(ValueError, match=words) as caught:
        cifar10.read(tmp_path)
    assert "cifar-10-python.tar.gz" in str(caught.value) and "\n" not in str(caught.value)
    assert f"get it again from {cifar10.URL}" in str(caught.value)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_the_archive_is_read_however_it_is_compressed(kind, tmp_path, monkeypatch):
    batch = {name: name.encode() for name in cifar10.MD5}
    monkeypatch.setattr(cifar10, "check_file", lambda *_: None)
    monkeypatch.setattr(cifar10, "unpickle_batch", lambda data, name: cifar10.Split(
        np.frombuffer(data, np.uint8), np.array([len(name)])))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(packed(kind, {
        "readme.html": PAGE, **{f"{cifar10.FOLDER}/{name}": data for name, data in batch.items()}}))
    read = cifar10.read(tmp_path)
    assert read["test"].images.tobytes() == b"test_batch"
    assert read["train"].images.tobytes() == b"".join(batch[f"data_batch_{i}"] for i in range(1, 6))


def test_a_batch_that_is_far_too_large_is_not_read(tmp_path):
    with open(tmp_path / "data_batch_1", "wb") as file:
        file.truncate(1 << 40)      # takes no room
    with pytest.raises(ValueError, match="has 1099511627776 bytes, more than all of CIFAR-10"):
        cifar10.read(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"bytes, a web page \(HTML\)\) has md5"):
        cifar10.read(tmp_path)


def test_a_web_page_under_the_name_of_svhn_is_one_line(tmp_path):
    for split in ("train", "test"):
        (tmp_path / svhn.file_name(split)).write_bytes(PAGE)
    for sha256 in (None, {}):
        with pytest.raises(ValueError, match=r"train_32x32.mat .*a web page \(HTML\)") as caught:
            svhn.read(tmp_path, sha256=sha256)
        assert "\n" not in str(caught.value) and "get it again from" in str(caught.value)
