"""A full disk and a lack of memory, with the very errors that Python, NumPy and TensorFlow raise."""

import contextlib
import errno
import json
import os
import pickle
import resource

import numpy as np
import pytest
import tensorflow as tf

from mpl_tf.common import command, room, storage
from mpl_tf.shards import tfrecord

ROOM = "cannot be written (No space left on device): make room; the same command continues"
# What TensorFlow 2.15 said of a full tmpfs, at a checkpoint and at the first event.
CHECKPOINT = ("{{function_node __wrapped__SaveV2_dtypes_35_device_/job:localhost/replica:0/task:0/"
              "device:CPU:0}} runs/a b/checkpoints/ckpt-2_temp/part-0; No space left on device "
              "[Op:SaveV2]")
EVENTS = ("{{function_node __wrapped__CreateSummaryFileWriter_device_}} runs/x/events.v2; No space "
          "left on device\n\tFailed to flush 1 events to runs/x/events.v2\n\tCould not initialize "
          "events writer. [Op:CreateSummaryFileWriter] name: ")


def outcome(main, capfd):
    """(exit code, the lines on stderr) of a program."""
    code = command.run(lambda _: main(), [])
    return code, capfd.readouterr().err.splitlines()


def raising(error):
    def main():
        raise error
    return main


@contextlib.contextmanager
def files_of_at_most(size):
    """No file of this process can grow beyond `size` bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("error, path", [
    (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "runs/x"),
    (OSError(errno.ENOSPC, "No space left on device"), "the output"),
    (tf.errors.ResourceExhaustedError(None, None, CHECKPOINT),
     "runs/a b/checkpoints/ckpt-2_temp/part-0"),
    (tf.errors.ResourceExhaustedError(None, None, EVENTS), "runs/x/events.v2"),
    (tf.errors.UnknownError(None, None, "runs/y; No space left on device"), "runs/y"),
    (RuntimeError("Can't write data (error message = 'No space left on device')"), "the output"),
], ids=["named", "nameless", "checkpoint", "events", "unknown", "hdf5"])
def test_a_full_disk_is_one_line_whoever_met_it(error, path, capfd):
    assert outcome(raising(error), capfd) == (1, [f"error: {path} {ROOM}"])


def test_a_full_disk_is_found_under_the_errors_that_it_led_to(capfd):
    def main():
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "runs/x/config.json")
        except OSError as error:
            raise ValueError("model_dir=runs/x cannot be written: choose another") from error
    assert outcome(main, capfd) == (1, [f"error: runs/x/config.json {ROOM}"])


def test_other_errors_are_not_taken_for_a_full_disk(capfd):
    quoted = ValueError("--data_dir=No space left on device: no such folder")
    assert outcome(raising(quoted), capfd) == (2, [f"error: {quoted}"])
    assert outcome(raising(PermissionError(13, "Permission denied", "x")), capfd)[0] == 2
    with pytest.raises(tf.errors.InvalidArgumentError):
        command.run(lambda _: raising(tf.errors.InvalidArgumentError(None, None, "shapes"))(), [])


@pytest.mark.parametrize("folder", ["No space left on device", "x; No space left on device",
                                    "Unable to allocate", "OOM when allocating", "Disk quota exceeded"])
def test_words_in_a_folders_name_are_no_lack_of_room(folder):
    lost = f"{{{{node}}}} /{folder}/ckpt-1; No such file or directory"
    for error in (tf.errors.NotFoundError(None, None, lost),
                  PermissionError(13, "Permission denied", f"/{folder}/x"),
                  RuntimeError(f"/{folder}/y is no checkpoint")):
        assert room.explained(error) is None and room.full_disk(error, "x") is None


def test_every_quota_and_limit_says_what_to_do(capfd):
    code, (line,) = outcome(raising(OSError(errno.EDQUOT, "Disk quota exceeded", "x")), capfd)
    assert code == 1 and "make room, or have the quota raised; the same command continues" in line
    assert outcome(raising(OSError(errno.EIO, "Input/output error", "x")), capfd)[0] == 1


WRITERS = {
    "JSON": lambda path: storage.write_json(path, list(range(100_000))),
    "arrays": lambda path: _through_partial(path, lambda file: np.savez(file, x=np.ones(100_000))),
    "shard": lambda path: tfrecord.write(path, [bytes(1000)] * 400),
    "checkpoint": lambda path: tf.train.Checkpoint(x=tf.Variable(tf.ones([100_000]))).write(path),
}


def _through_partial(path, write):
    with storage.partial(path) as temporary, open(temporary, "wb") as file:
        write(file)


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_that_cannot_grow_is_named(what, tmp_path, capfd):
    """By the system's own limit, so that each library raises its real error."""
    path = str(tmp_path / "file")
    with files_of_at_most(200_000):
        code, lines = outcome(lambda: WRITERS[what](path), capfd)
    assert code == 1 and len(lines) == 1, lines
    assert lines[0].startswith(f"error: {path}") and (
        "cannot be written (File too large): raise the limit on the size of a file" in lines[0])
    if what in ("JSON", "arrays"):
        assert os.listdir(tmp_path) == []


def test_the_error_of_a_worker_process_keeps_number_and_file(tmp_path):
    with files_of_at_most(200_000), pytest.raises(OSError) as caught:
        tfrecord.write(tmp_path / "shard", [bytes(1000)] * 400)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (sent.errno, sent.filename) == (errno.EFBIG, str(tmp_path / "shard"))


def test_output_that_cannot_be_written_is_told_at_the_end_too(capfd):
    code = os.system(f"{os.sys.executable} -c 'import os, sys; sys.path.insert(0, os.getcwd()); "
                     "from mpl_tf.common import command; sys.exit(command.run(lambda _: print(1), "
                     "[]))' > /dev/full")
    assert os.waitstatus_to_exitcode(code) == 1
    assert capfd.readouterr().err == f"error: the output {ROOM}\n"


@pytest.mark.parametrize("error, words", [
    (tf.errors.ResourceExhaustedError(None, None, "{{function_node f}} OOM when allocating tensor "
                                      "with shape[99999999999]\n more"), "shape[99999999999]"),
    (MemoryError("Unable to allocate 728 GiB for an array"), "728 GiB"), (MemoryError(), "memory")])
def test_a_lack_of_memory_is_one_line(error, words, capfd):
    code, lines = outcome(raising(error), capfd)
    assert code == 1 and len(lines) == 1 and words in lines[0]
    assert "use smaller batches, images or networks" in lines[0] and "function_node" not in lines[0]
    assert json.dumps(lines)


@pytest.mark.slow       # TensorFlow waits 10 s for memory to come free
def test_a_real_lack_of_memory_is_one_line(capfd):
    code, lines = outcome(lambda: tf.zeros([1 << 45]) + 1, capfd)
    assert code == 1 and "OOM when allocating tensor" in lines[-1]
    assert room.explained(ValueError("OOM when allocating")) is None
