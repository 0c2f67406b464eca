"""What a file is by its first bytes, and a reader that no compressed file can overwhelm."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import os
import zlib
from typing import BinaryIO

_KINDS = {
    b"\x1f\x8b\x08": "compressed by gzip", b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz", b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a zip archive", b"PK\x05\x06": "a zip archive", b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive", b"%PDF": "a PDF document", b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image", b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer of Git LFS, not the file that it stands for"}
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


def described(start: bytes) -> str:
    """What a file that begins with the bytes `start`, some 512, is in words; "" if that is unknown."""
    if not start:
        return "empty"
    for magic, words in _KINDS.items():
        if start.startswith(magic):
            return words
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()[:15].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if start[257:262] == b"ustar":
        return "a tar archive"
    return "compressed by zlib" if _is_zlib(start) else ""


def _is_zlib(start):
    """Whether `start` is the beginning of what zlib writes, with deflate's usual window."""
    try:
        zlib.decompressobj().decompress(start, 1)
        return start[0] == 0x78 and len(start) > 1
    except zlib.error:
        return False


def of_file(path: str | os.PathLike[str]) -> str:
    """`described` of the file `path`; "" too where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return described(file.read(512))
    except OSError:
        return ""


class Unpacked:
    """The contents of a file, unpacked if it is compressed by gzip, bzip2 or xz, up to a size.

    Args:
      path: the file.
      most: how many bytes are read at most in all.
    """

    def __init__(self, path: str | os.PathLike[str], most: int):
        with open(path, "rb") as file:
            start = file.read(6)
        opener = next((each for magic, each in _OPENERS.items() if start.startswith(magic)), open)
        self._file: BinaryIO = opener(path, "rb")
        self._left = self._most = most

    def read(self, size: int) -> bytes:
        """Reads `size` bytes, or what is left; ValueError beyond the most that may be read."""
        block = self._file.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {self._most} bytes")
        return block

    def __enter__(self) -> "Unpacked":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
