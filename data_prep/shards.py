"""Writes a data set's shards with several processes, and continues an interrupted run.

A plan says what every shard holds. Each shard is written by one process under a temporary name,
then renamed, then noted in `.progress`. So whatever stopped an earlier run, the noted shards are
whole, and the others are written again with the same bytes. At the end an index for each split and
dataset.json are written, and `.progress` is removed.
"""

import collections
import dataclasses
import hashlib
import json
import sys

import numpy as np
import PIL

from data_prep import results
from data_prep import workers as work
from data_prep.command import counted, say
from data_prep.output import Output
from mpl_tf.common.bar import Bar
from mpl_tf.common.command import readable, shown
from mpl_tf.datasets import prepared
from mpl_tf.shards import record_index, tfrecord

SHOWN = 10      # most unreadable images that an error names


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """One split, what it is made of and in which order.

    Attributes:
      name: "train", for example. num_shards: int.
      items: what `make` turns into records, in order: a list of tuples that begin with a name, or
        an object with a length, slices and digest().
      order: the order in words, for dataset.json.
      labeled: whether the examples have labels. label_at: where in an item its label is.
    """
    name: str
    num_shards: int
    items: object
    order: str
    labeled: bool = True
    label_at: int = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """A data set to write: the program that makes it, and all that decides its bytes.

    Attributes:
      program: "imagenet", for example. name: the data set's name. seed: int.
      splits: tuple of SplitPlan.
      options: dict of other flags that decide what is written.
      class_names: list of str, or None.
      notes: dict of further entries for dataset.json.
      flip: whether the mirror image of an example still belongs to its class.
    """
    program: str
    name: str
    seed: int
    splits: tuple
    options: dict = dataclasses.field(default_factory=dict)
    class_names: list = None
    notes: dict = dataclasses.field(default_factory=dict)
    flip: bool = True

    def describe(self):
        """What must be equal for a run to continue another's, a dict of JSON."""
        splits = {split.name: {"examples": len(split.items), "shards": split.num_shards,
                               "sources": _digest(split.items)} for split in self.splits}
        return {"program": f"data_prep.{self.program}", "name": self.name, "seed": self.seed,
                "options": self.options, "class_names": self.class_names, "splits": splits,
                "pillow": PIL.__version__}


def prepare(plan, make, output_dir, command="", overwrite=False, skip_corrupt=False, workers=1):
    """Writes the shards of `plan` that are missing in `output_dir`.

    Args:
      plan: a Plan.
      make: function item -> schema.Record; it raises ValueError (image_files.BadImage) or OSError
        for an image that cannot be read. For workers > 1 it must be possible to pickle it.
      command: the command line, for dataset.json.
      overwrite, skip_corrupt, workers: the values of these flags.

    Returns:
      The contents of dataset.json, a dict.

    Raises:
      ValueError: in one line: the folder holds something else, a split has fewer images than
        shards, or images cannot be read (the shards without such images are written, and kept); with
        skip_corrupt, that none of a class can.
    """
    for split in plan.splits:
        if not 1 <= split.num_shards <= len(split.items):
            raise ValueError(f"{split.num_shards} shards for the {len(split.items)} images of "
                             f"{split.name}: give 1 to {len(split.items)} shards")
    described = plan.describe()
    with Output(output_dir, described, overwrite) as output:
        if output.finished is not None:
            _refuse_skipped(output.finished["splits"].values(), output_dir, skip_corrupt)
            _refuse_lost(plan, output.finished["splits"], output_dir)
            say(f"{output_dir} is finished already: {summary(output.finished)} (an image that was replaced "
                "under its name is not looked for: --overwrite prepares all anew)")
            return output.finished
        say(*results.fewer(output.replaced, described["splits"], output_dir))
        tasks = [_Task(split.name, shard, split.num_shards, split.items) for split in plan.splits
                 for shard in range(split.num_shards)]
        notes = _write_all(tasks, make, output, skip_corrupt, workers)
        _refuse_skipped(notes.values(), output_dir, skip_corrupt)
        sidecar = _sidecar(plan, described, notes, command)
        try:
            _refuse_lost(plan, sidecar["splits"], output_dir)
        except ValueError:      # nobody shall train on it, and mended images are read again
            output.discard(file for file, note in notes.items() if note["skipped"])
            raise
        for split in plan.splits:
            record_index.save_index(prepared.index_path(output.folder, split.name),
                                    _index(output, split, notes))
        output.finish(sidecar)
    say(f"{output_dir}: {summary(sidecar)}")
    for split in plan.splits:
        part = sidecar["splits"][split.name]
        if part["skipped"]:
            say(f"{split.name}: {counted(len(part['skipped']), 'image', 'images')} "
                f"skipped, see dataset.json: {readable(part['skipped'][0])}")
        for line in results.warnings(split, plan.class_names, part):
            print(shown(f"warning: {readable(line)}"), file=sys.stderr, flush=True)
    return sidecar


def _refuse_lost(plan, parts, output_dir):
    """Raises ValueError if a class has no image left; `parts` are the splits of dataset.json."""
    for split in plan.splits:
        lost = results.lost_class(split, plan.class_names, parts[split.name])
        if lost:
            raise ValueError(f"{output_dir}: {lost}: --skip_corrupt leaves out images, not a whole "
                             "class; replace them, or move them out of the source folder, and give "
                             "--overwrite")


def _refuse_skipped(parts, output_dir, skip_corrupt):
    """Raises ValueError if an earlier run left images out but skip_corrupt is now off."""
    skipped = [line for part in parts for line in part["skipped"]]
    if skipped and not skip_corrupt:
        first = readable(skipped[0])
        raise ValueError(f"{output_dir}: {len(skipped)} images were left out by --skip_corrupt, the "
                         f"first is {first}; give that flag again, or repair the images and give "
                         "--overwrite")


def summary(sidecar):
    """Summarises dataset.json in a few words."""
    return ", ".join(
        f"{counted(part['examples'], 'example', 'examples')} of {name} in "
        f"{counted(len(part['shards']), 'shard', 'shards')}" for name, part in sidecar["splits"].items())


@dataclasses.dataclass(frozen=True)
class _Task:
    split: str
    shard: int
    num_shards: int
    items: object

    @property
    def file(self):
        return tfrecord.shard_name(self.split, self.shard, self.num_shards)

    def sources(self):
        """The shard's items, a contiguous range of all, as in Szegedy et al.'s shards."""
        ends = np.linspace(0, len(self.items), self.num_shards + 1).astype(int)
        return self.items[ends[self.shard]:ends[self.shard + 1]]


def _write_all(tasks, make, output, skip_corrupt, workers):
    """Writes the shards that are not there yet; returns {file: note} of all."""
    notes, problems, todo = {}, [], []
    for task in tasks:
        note = output.note(task.file)
        if note is None:
            todo.append(task)
        else:
            notes[task.file] = note
    done = sum(note["examples"] + len(note["skipped"]) for note in notes.values())
    if done:
        print(f"continuing: {len(notes)} of {len(tasks)} shards are there", flush=True)
    total = sum(len(split_items) for split_items in
                {task.split: task.items for task in tasks}.values())
    with Bar(total, " images", "preparing", initial=done) as bar:
        arguments = ((task.file, task.sources(), make, output.path(task.file), skip_corrupt)
                     for task in todo)
        for file, note, found, began in work.results(work.write_shard, arguments,
                                                    min(workers, len(todo))):
            bar.began(began)
            bar.update(note["examples"] + len(note["skipped"]) if note else len(found))
            if note is None:
                problems += found
            else:
                output.add_note(file, note)
                notes[file] = note
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(f"{len(problems)} images cannot be read: {'; '.join(problems[:SHOWN])}"
                         f"{more}: replace them, or leave them out with --skip_corrupt")
    return notes


def _digest(items):
    if hasattr(items, "digest"):
        return items.digest()
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item).encode())
    return digest.hexdigest()


def _files(split):
    return [tfrecord.shard_name(split.name, shard, split.num_shards)
            for shard in range(split.num_shards)]


def _index(output, split, notes):
    parts = [notes[file] for file in _files(split)]
    lengths = [np.array(part["lengths"], np.int64) for part in parts]
    around = tfrecord.HEADER + tfrecord.FOOTER
    return record_index.Index(
        paths=tuple(output.path(file) for file in _files(split)),
        sizes=np.array([part["bytes"] for part in parts], np.int64),
        shard=np.concatenate([np.full(len(length), i, np.int32)
                              for i, length in enumerate(lengths)]),
        number=np.concatenate([np.arange(len(length), dtype=np.int32) for length in lengths]),
        offset=np.concatenate([np.cumsum(length + around) - length - around
                               for length in lengths]),
        length=np.concatenate(lengths),
        label=np.concatenate([np.array(part["labels"], np.int32) for part in parts]))


def _sidecar(plan, described, notes, command):
    """The contents of dataset.json, a dict."""
    splits = {}
    for split in plan.splits:
        parts = [notes[file] for file in _files(split)]
        counts = collections.Counter(label for part in parts for label in part["labels"])
        splits[split.name] = {
            "examples": sum(part["examples"] for part in parts),
            "labeled": split.labeled,
            "order": split.order,
            "class_histogram": [counts[label] for label in range(len(plan.class_names))]
            if split.labeled else None,
            "skipped": [line for part in parts for line in part["skipped"]],
            "shards": [{"file": file, **{key: part[key] for key in ("examples", "bytes", "sha256")}}
                       for file, part in zip(_files(split), parts)]}
    return {"name": plan.name, "num_classes": len(plan.class_names) if plan.class_names else None,
            "class_names": plan.class_names, "flip": plan.flip, **plan.notes, "command": command,
            "seed": plan.seed, "splits": splits, "plan": described}
