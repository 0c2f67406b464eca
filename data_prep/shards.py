"""Writes a data set's shards, with all cores; interrupted anywhere, it continues.

A plan says what every shard holds. Each is written by one process under a temporary name, then
renamed, then noted in `.progress`; so whatever stopped an earlier run, shards that are noted are
whole, and the others are written again, with the same bytes. At the end come an index for each
split and dataset.json, and `.progress` goes.
"""

import collections
import dataclasses
import hashlib
import json

import numpy as np
import PIL

from data_prep import workers as work
from data_prep.output import Output
from mpl_tf.common.bar import Bar
from mpl_tf.datasets import prepared
from mpl_tf.shards import record_index, tfrecord

SHOWN = 10      # unreadable images that an error names


@dataclasses.dataclass(frozen=True)
class SplitPlan:
    """One split, what it is made of and in which order.

    Attributes:
      name: "train", for one. num_shards: int.
      items: what `make` makes records of, in order: a list of tuples that begin with a name, or an
        object with a length, slices and digest().
      order: the order, in words.
      labeled: whether the examples have labels.
    """
    name: str
    num_shards: int
    items: object
    order: str
    labeled: bool = True


@dataclasses.dataclass(frozen=True)
class Plan:
    """A data set: which program makes it, and all that decides its bytes.

    Attributes:
      program: "imagenet", for one. name: the data set's. seed: int.
      splits: tuple of SplitPlan.
      options: dict of other flags that decide what is written.
      class_names: list of str, or None.
      notes: dict of what else dataset.json is to say.
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
        """What has to be equal for a run to continue another's, as JSON."""
        splits = {split.name: {"examples": len(split.items), "shards": split.num_shards,
                               "sources": _digest(split.items)} for split in self.splits}
        return {"program": f"data_prep.{self.program}", "name": self.name, "seed": self.seed,
                "options": self.options, "class_names": self.class_names, "splits": splits,
                "pillow": PIL.__version__}


def prepare(plan, make, output_dir, command="", overwrite=False, skip_corrupt=False, workers=1):
    """Writes all shards of `plan` to `output_dir`, or what is missing of them.

    Args:
      plan: a Plan.
      make: item -> records.Record; raises ValueError (images.BadImage) or OSError for an image that
        cannot be read. For workers > 1 it can be pickled.
      command: for dataset.json.
      overwrite, skip_corrupt, workers: the flags.

    Returns:
      dataset.json, a dict.

    Raises:
      ValueError: in one line: the folder is another's, a split cannot fill its shards, or images
        could not be read (all other shards are written then, and kept).
    """
    for split in plan.splits:
        if not 1 <= split.num_shards <= len(split.items):
            raise ValueError(f"{split.num_shards} shards for the {len(split.items)} images of "
                             f"{split.name}: give 1 to {len(split.items)} shards")
    described = plan.describe()
    with Output(output_dir, described, overwrite) as output:
        if output.finished is not None:
            _refuse_skipped(output.finished["splits"].values(), output_dir, skip_corrupt)
            print(f"{output_dir} is finished already: {summary(output.finished)}", flush=True)
            return output.finished
        tasks = [_Task(split.name, shard, split.num_shards, split.items) for split in plan.splits
                 for shard in range(split.num_shards)]
        notes = _write_all(tasks, make, output, skip_corrupt, workers)
        _refuse_skipped(notes.values(), output_dir, skip_corrupt)
        sidecar = _sidecar(plan, described, notes, command)
        for split in plan.splits:
            record_index.save_index(prepared.index_path(output.folder, split.name),
                                    _index(output, split, notes))
        output.finish(sidecar)
    print(f"{output_dir}: {summary(sidecar)}", flush=True)
    for split, part in sidecar["splits"].items():
        if part["skipped"]:
            first = part["skipped"][0].encode("utf-8", "backslashreplace").decode()
            print(f"{split}: {len(part['skipped'])} images skipped, see dataset.json: {first}",
                  flush=True)
    return sidecar


def _refuse_skipped(parts, output_dir, skip_corrupt):
    """ValueError where an earlier run with --skip_corrupt left images out and this one must not."""
    skipped = [line for part in parts for line in part["skipped"]]
    if skipped and not skip_corrupt:
        first = skipped[0].encode("utf-8", "backslashreplace").decode()
        raise ValueError(f"{output_dir}: {len(skipped)} images were left out by --skip_corrupt, the "
                         f"first: {first}; give it again, or mend them and --overwrite")


def summary(sidecar):
    """dataset.json in a few words."""
    return ", ".join(f"{part['examples']} examples of {name} in {len(part['shards'])} shards"
                     for name, part in sidecar["splits"].items())


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
        """The shard's items: contiguous ranges, as Szegedy et al.'s."""
        ends = np.linspace(0, len(self.items), self.num_shards + 1).astype(int)
        return self.items[ends[self.shard]:ends[self.shard + 1]]


def _write_all(tasks, make, output, skip_corrupt, workers):
    """{file: note} of all shards; those that are there already are not written again."""
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
        for file, note, found in work.results(work.write_shard, arguments,
                                             min(workers, len(todo))):
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
    """dataset.json."""
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
