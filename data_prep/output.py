"""Manages the folder that shards are written to: what is finished, and what may be removed."""

import contextlib
import os
import shutil

from mpl_tf.common import storage
from mpl_tf.common.structure import WHOLE
from mpl_tf.datasets import prepared
from mpl_tf.shards import tfrecord

PROGRESS = prepared.PROGRESS    # folder of the plan and of a note for each finished shard
PLAN = "plan.json"
_GIVE_BACK = "give it back, or choose another --output_dir"


class Output:
    """The output folder of a plan; a context manager that locks it against other processes.

    Args:
      folder: --output_dir. described: Plan.describe(). overwrite: --overwrite.

    Attributes:
      finished: the contents of dataset.json, where this very plan has been carried out; else None.
      replaced: those of another that --overwrite removes; else None.

    Raises (on entering):
      ValueError: in one line: the folder holds other files or another plan's shards, or another
        process is writing there.
    """

    def __init__(self, folder, described, overwrite):
        self.folder, self._described, self._overwrite = os.fspath(folder), described, overwrite
        self.finished, self.replaced, self._stack = None, None, contextlib.ExitStack()

    def __enter__(self):
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise ValueError(f"--output_dir={self.folder} is a file: expected a new or empty folder")
        os.makedirs(self.folder, exist_ok=True)
        with contextlib.ExitStack() as held:
            held.enter_context(storage.hold(self.folder, "--output_dir"))
            self._claim()
            self._stack = held.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def path(self, name):
        """The path of the file `name` in the folder."""
        return os.path.join(self.folder, name)

    def note(self, file):
        """The note of a finished shard, a dict; None where the shard has to be written."""
        note = storage.read_json(
            self.path(os.path.join(PROGRESS, f"{file}.json")),
            "move it elsewhere, and the shard is written again",
            {"examples": WHOLE, "bytes": WHOLE, "sha256": str, "skipped": [str],
             "lengths": [WHOLE], "labels": [int]})
        path = self.path(file)
        if note and os.path.isfile(path) and os.path.getsize(path) == note["bytes"]:
            return note
        return None

    def add_note(self, file, note):
        """Writes the note, a dict, that a shard is finished."""
        storage.write_json(self.path(os.path.join(PROGRESS, f"{file}.json")), note)

    def discard(self, files):
        """Removes shards that were written, so that the next run writes them again."""
        for file in files:
            self._remove([os.path.join(PROGRESS, f"{file}.json"), file])

    def finish(self, sidecar):
        """Writes dataset.json and removes PROGRESS."""
        storage.write_json(self.path(prepared.SIDECAR), sidecar)
        shutil.rmtree(self.path(PROGRESS))

    def _claim(self):
        try:
            self._claim_folder()
        except (KeyError, TypeError, AttributeError) as error:     # of what notes must hold
            raise ValueError(f"{self.path(prepared.SIDECAR)} or {self.path(PROGRESS)}/{PLAN} is "
                             f"damaged ({error}): {_GIVE_BACK}") from error

    def _claim_folder(self):
        sidecar = storage.read_json(self.path(prepared.SIDECAR), _GIVE_BACK)
        sidecar = storage.read_json(
            self.path(prepared.SIDECAR), _GIVE_BACK,
            prepared.CONTENTS) if sidecar and "plan" in sidecar else None
        plan = sidecar["plan"] if sidecar else storage.read_json(
            self.path(os.path.join(PROGRESS, PLAN)), _GIVE_BACK,
            prepared.CONTENTS["plan"])
        ours = _files_of(plan) if plan else set()
        foreign = sorted(name for name in os.listdir(self.folder)
                         if name not in ours and name != PROGRESS
                         and not name.startswith(storage.PARTIAL))
        if foreign:
            raise ValueError(f"--output_dir={self.folder} holds {foreign[0]!r}"
                             f"{' and others' if foreign[1:] else ''}, which data_prep did not "
                             "write: choose a new or empty folder")
        if self._overwrite:
            self.replaced = sidecar
            self._remove(sorted(ours - {prepared.SIDECAR}))
            shutil.rmtree(self.path(PROGRESS), ignore_errors=True)
            self._remove([prepared.SIDECAR])        # last: until then it says whose the others are
        elif plan is not None:
            # Another Pillow could write other bytes from here on; of a finished folder no matter.
            lines = differences(plan, self._described, {"pillow"} if sidecar else ())
            if lines:
                raise ValueError(f"--output_dir={self.folder} holds what was prepared in another "
                                 f"way: {'; '.join(lines)}; give the same flags and files, another "
                                 "folder, or --overwrite to start anew")
            if sidecar:
                self._check(sidecar)
                shutil.rmtree(self.path(PROGRESS), ignore_errors=True)
                self.finished = sidecar
        storage.remove_partial(self.folder)
        if self.finished is None:
            os.makedirs(self.path(PROGRESS), exist_ok=True)
            storage.write_json(self.path(os.path.join(PROGRESS, PLAN)), self._described)

    def _remove(self, names):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path(name))

    def _check(self, sidecar):
        """Raises ValueError unless all shards of a finished folder are as large as they were."""
        for split in sidecar["splits"].values():
            for shard in split["shards"]:
                path = self.path(shard["file"])
                found = os.path.getsize(path) if os.path.isfile(path) else None
                if found != shard["bytes"]:
                    shown = ("is missing" if found is None else
                             f"has {found} bytes now, and had {shard['bytes']} when it was written")
                    raise ValueError(f"{path} {shown}: the folder was changed after it was "
                                     "prepared; --overwrite prepares it anew")


def _files_of(plan):
    """Names of all files that a plan, a dict, writes; what is a path is left out."""
    names = {prepared.SIDECAR}
    for split, part in plan["splits"].items():
        if part["shards"] > part["examples"]:
            raise ValueError(f"the plan of {split!r} has {part['shards']} shards for "
                             f"{part['examples']} examples, which data_prep does not write: "
                             f"{_GIVE_BACK}")
        names.add(f"{split}.index.npz")
        names.update(tfrecord.shard_name(split, i, part["shards"])
                     for i in range(part["shards"]))
    return {name for name in names if os.path.basename(name) == name}


def differences(old, new, ignored=(), prefix=""):
    """Describes each difference between two dicts of JSON, for example "seed is 1 instead of 0"."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, now = old.get(key), new.get(key)
        if key in ignored or before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            lines += differences(before, now, ignored, f"{prefix}{key} ")
        elif key == "sources":
            lines.append(f"{prefix}files are others")
        elif isinstance(before, list) or isinstance(now, list):
            lines.append(f"{prefix}{key} differ")
        else:
            lines.append(f"{prefix}{key} is {now!r} instead of {before!r}")
    return lines
