"""1,200 seeded corruptions of shards of real photographs: a clear error, a counted skip, or no harm."""

import hashlib
import os

import numpy as np
import pytest

from data_prep import imagenet
from data_prep import inspect
from mpl_tf.shards import record_index, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord
from tests.prep import jpeg, put

SEEDS, CHUNKS, RECORDS = 1200, 12, 12      # a chunk for each kind of corruption


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """(folder with a shard and its index, its bytes, its payloads, its offsets)."""
    folder = tmp_path_factory.mktemp("shard")
    data = os.environ.get("MPL_TEST_DATA", os.path.join(os.path.dirname(__file__), *[".."] * 3,
                                                        "shared", "data"))
    photos = os.path.join(data, "imagenet-sample")
    if os.path.isdir(photos):       # the smallest of the real ones, so that reading them is quick
        names = sorted(os.listdir(photos), key=lambda n: os.path.getsize(os.path.join(photos, n)))
        names = names[:RECORDS]
    else:
        photos, names = str(folder / "photos"), [f"n{i}_.JPEG" for i in range(RECORDS)]
        for i, name in enumerate(names):
            put(os.path.join(photos, name), jpeg(i))
    synsets = [name.partition("_")[0] for name in names]
    (folder / "shards").mkdir()
    path = str(folder / "shards" / "train-00000-of-00001")
    tfrecord.write(path, [
        schema.encode(imagenet.make_record(photos, synsets, None, (name, name, i, [])))
        for i, name in enumerate(names)])
    index, _ = record_index.build_index([path])
    record_index.save_index(folder / "shards" / "train.index.npz", index)
    with open(path, "rb") as file:
        whole = file.read()
    payloads = [index.read(i) for i in range(RECORDS)]
    return folder / "shards", whole, payloads, [*index.offset.tolist(), len(whole)]


def corrupt(whole, offsets, seed):
    """The bytes of a shard after one corruption, decided by seed."""
    random = np.random.default_rng(seed)
    contents = bytearray(whole)
    a, b = sorted(random.integers(0, len(whole), 2).tolist())
    i, j = random.permutation(RECORDS)[:2].tolist()
    near = offsets[i] + int(random.integers(0, 12))         # inside a header
    b = min(b, a + int(2 ** random.uniform(0, 16)))
    kind = seed % CHUNKS
    if kind == 0:
        contents[int(random.integers(len(whole)))] ^= 1 << int(random.integers(8))
    elif kind == 1:
        contents[near] ^= 1 << int(random.integers(8))
    elif kind == 2:
        for position in random.integers(0, len(whole), 20):
            contents[position] ^= 1 << int(random.integers(8))
    elif kind == 3:
        del contents[a:]
    elif kind == 4:     # at the end of a record: legal framing, too few records
        del contents[offsets[max(i, 1)]:]
    elif kind == 5:     # headers change places
        one, two = (slice(offsets[k], offsets[k] + 12) for k in (i, j))
        contents[one], contents[two] = contents[two], contents[one]
    elif kind == 6:
        del contents[a:b]
    elif kind == 7:
        contents[b:b] = contents[a:b]
    elif kind == 8:
        contents[a:b] = random.bytes(b - a)
    elif kind == 9:
        contents[a:b] = bytes(b - a)
    elif kind == 10:    # a whole record more, or one in place of another
        begin = offsets[j]
        contents[begin:offsets[j + 1] if seed % 24 < 12 else begin] = whole[
            offsets[i]:offsets[i + 1]]
    else:
        contents[near:near] = random.bytes(int(random.integers(1, 40)))
    return bytes(contents)


def check_line(error, path):
    line = str(error)
    assert "\n" not in line and path in line and len(line) < 600, line


@pytest.mark.parametrize("seeds", [
    range(SEEDS // 5), pytest.param(range(SEEDS // 5, SEEDS), marks=pytest.mark.slow)])
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_corruptions(chunk, seeds, shard):
    folder, whole, payloads, offsets = shard
    path = str(folder / "train-00000-of-00001")
    label_of = {payload: schema.decode(payload, "").label for payload in payloads}
    refused = 0
    for seed in seeds[chunk::CHUNKS]:
        contents = corrupt(whole, offsets, seed)
        with open(path, "wb") as file:
            file.write(contents)

        # As prepared: the index is there.
        noticed = False
        try:
            stored = record_index.load_index(folder / "train.index.npz")
            for i in range(RECORDS):
                try:
                    payload = stored.read(i)
                    # A record in place of one of its length is another one: what is decoded counts.
                    assert payload in label_of
                    noticed |= payload != payloads[i]
                except CorruptRecord as error:
                    check_line(error, path)
                    noticed = True
        except CorruptRecord as error:
            check_line(error, path)
            noticed = True
        assert noticed == (contents != whole), seed

        # As others' files: indexed anew, strictly and leniently.
        try:
            strict, _ = record_index.build_index([path], RECORDS, workers=1)
        except CorruptRecord as error:
            check_line(error, path)
            strict, refused = None, refused + 1
        try:
            lenient, skipped = record_index.build_index([path], RECORDS, skip_corrupt=True,
                                                        workers=1)
        except CorruptRecord as error:      # nothing is left
            check_line(error, path)
            assert strict is None
            continue
        for line in skipped:
            check_line(line, path)
        kept = [lenient.read(i) for i in range(len(lenient))]
        assert len(set(kept)) == len(kept) and set(kept) <= set(payloads), seed
        assert [label_of[payload] for payload in kept] == lenient.label.tolist()
        assert bool(skipped) == (strict is None), seed
        if strict is not None:      # whole records, none of them changed
            assert [strict.read(i) for i in range(len(strict))] == kept
            assert len(kept) == RECORDS or seed % CHUNKS in (3, 4, 6)     # too few of them: load_index
    assert refused > len(seeds) / CHUNKS / 2 if chunk != 4 else refused == 0


def test_inspect_finds_every_corruption(shard):
    folder, whole, payloads, offsets = shard
    path = str(folder / "train-00000-of-00001")
    noted = {"examples": RECORDS, "sha256": hashlib.sha256(whole).hexdigest()}
    for seed in range(120):
        contents = corrupt(whole, offsets, seed)
        with open(path, "wb") as file:
            file.write(contents)
        report = inspect.inspect_file(path, noted)
        assert bool(report["broken"]) == (contents != whole), seed
        for line in report["broken"]:
            check_line(line, path)


def test_damage_that_the_checksum_does_not_see(shard):
    """Written wrong rather than damaged later: any bytes decode, or are refused in one line."""
    payloads, refused = shard[2], 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        contents = bytearray(payloads[seed % RECORDS])
        keep = contents.find(b"image/") if seed % 2 else 0
        for _ in range(int(random.integers(1, 4))):     # keys and lengths are at both ends
            position = int(random.integers(0, 400)) + keep
            contents[-position if seed % 3 else position] = int(random.integers(256))
        if seed % 7 == 0:
            del contents[int(random.integers(len(contents))):]
        for labels in (True, False):
            try:
                record = schema.decode(bytes(contents), "f, record 3 at byte 9", labels, RECORDS)
                assert record.label in ([None] if not labels else range(RECORDS))
                assert isinstance(record.filename, str) and record.encoded
            except CorruptRecord as error:
                check_line(error, "f, record 3 at byte 9: ")
                refused += labels
    assert refused > 100
