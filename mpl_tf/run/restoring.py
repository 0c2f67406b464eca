"""Reads a checkpoint, and says of one that cannot be read whether it is damaged."""

import os
import re

import tensorflow as tf

from mpl_tf.common import keras_seam, plain_path

# What TensorFlow says of files whose bytes are not those that were written. Of what else it meets
# (permission, memory, a disk that is away, another version's files) no damage follows.
_DAMAGE = ("checksum", "bad magic number", "too short to be an sstable", "less bytes than requested")


def restore(checkpoint, path, whole=True):
    """Restores every object of `checkpoint` from the files at `path`.

    Args:
      checkpoint: a tf.train.Checkpoint.
      path: of the checkpoint, without the endings of its files.
      whole: whether the files may hold nothing that `checkpoint` lacks.

    Raises:
      ValueError: in one line, if the files cannot be read, are damaged, or are of other networks or
        optimizers.
    """
    _check_readable(path)
    opened = plain_path.plain(path)
    try:
        reader = tf.train.load_checkpoint(opened)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)     # reading compares checksums
    except Exception as error:  # TensorFlow's errors, and Python's from its bindings
        raise ValueError(_unread(path, error)) from error
    _check_keras(path, reader)
    try:
        status = checkpoint.restore(opened)
        status.assert_existing_objects_matched()
        status.assert_consumed() if whole else status.expect_partial()
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise ValueError(_unread(path, error)) from error
    except (ValueError, AssertionError, TypeError, tf.errors.OpError) as error:
        raise ValueError(f"checkpoint {path} is of another architecture than the networks here "
                         f"({_line(error, path)}): use the flags it was trained with, or another "
                         "--model_dir") from error


def made_by(names):
    """The Keras, 2 or 3, whose names of stored variables `names` has; None where they do not tell.

    Keras 2 calls what it stores of a network layer_with_weights-0, or variables/0 where a SavedModel's
    networks are nested, Keras 3 _operations/1 or _layers/1, or leaves it to the optimizer that trains it.
    """
    text = "\n".join(["", *names])
    if re.search(r"[/\n]layer_with_weights-|\nvariables/\d", text):
        return 2
    return 3 if re.search(r"[/\n](_operations|_layers)/|_optimizer/_trainable_variables/", text) else None


def is_foreign(names):
    """Whether the other Keras stored the variables called `names`."""
    return made_by(names) not in (None, 3 if keras_seam.IS_KERAS_3 else 2)


def check_keras(path):
    """Raises ValueError, in one line, if the other Keras wrote the checkpoint at `path`.

    It asks before anything is built for the checkpoint; one that cannot be read is left to `restore`.
    """
    try:
        reader = tf.train.load_checkpoint(plain_path.plain(path))
    except Exception:       # TensorFlow's errors, and Python's from its bindings
        return
    _check_keras(path, reader)


def _check_keras(path, reader):
    if is_foreign(reader.get_variable_to_shape_map()):
        there = ("3; continue or evaluate it there (Python 3.12 or later, without TF_USE_LEGACY_KERAS)"
                 if not keras_seam.IS_KERAS_3 else "2; continue or evaluate it there (Python 3.11, or "
                 "mpl_tf[legacy] with TF_USE_LEGACY_KERAS=1)")
        raise ValueError(f"checkpoint {path} was made with Keras {there}; predict and --fixed_teacher "
                         "take a finished run here too")


def _check_readable(path):
    """Raises ValueError, in one line, if the system does not let this process read the files."""
    folder, name = os.path.split(path)
    for file in sorted(os.listdir(folder or ".")):
        if file.startswith(name + "."):
            try:
                with open(os.path.join(folder, file), "rb") as opened:
                    opened.read(1)
            except OSError as error:
                raise ValueError(f"{os.path.join(folder, file)} cannot be read ({error.strerror}): "
                                 "give this process permission to read it, and see that its disk "
                                 "is there") from error


def _unread(path, error):
    """One line of why the checkpoint at `path` could not be read, and of what to do."""
    line, (folder, name) = _line(error, path), os.path.split(path)
    begin = f"checkpoint {path} cannot be read ({line}): "
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return begin + "the memory is too small for it; free some, or use another machine"
    said = str(error).replace(plain_path.plain(path), "").replace(path, "")
    said = said.replace(plain_path.plain(folder), "").replace(folder, "")     # names say nothing
    if "No such file" in said:
        return begin + ("one of its files is missing; put it back, or choose another --model_dir")
    if any(sign in said.lower() for sign in _DAMAGE):
        return begin + (f"it is damaged; delete the files {name}.* in {folder} to continue from the "
                        "one before, or choose another --model_dir")
    return begin + ("it may well be sound; read it with the version of TensorFlow that "
                    "wrote it, or choose another --model_dir")


def _line(error, path):
    text = str(error).replace(plain_path.plain(path), path)
    return " ".join((text or type(error).__name__).split())[:160]
