"""Selects, from all predicted examples, the K most confident ones of each class (Section 4.2).

`select` does all of it. Its parts are for programs that distribute the shards themselves:
data_prep.beam. The files are described in datasets/selection.py.

Candidates for a class are {column: array}, see COLUMNS. Their column `rest` is one minus the
probability of the class, which in float32 still ranks examples whose probability rounds to 1.
Memory holds fewer than 3 * K candidates for each class.
"""

from __future__ import annotations

import os
from typing import Sequence

import numpy as np

from mpl_tf.common import pictures, storage
from mpl_tf.common.bar import Bar
from mpl_tf.datasets import prediction_files, selection
from mpl_tf.reduced import select_report

COLUMNS = ("rest", "key", "shard", "number")    # of a candidate; the first two decide its rank


def select(predictions_dir: str, output_dir: str, per_class: int,
           splits: Sequence[str] | None = None, rank_all: bool = False, short: str = "repeat",
           overwrite: bool = False) -> None:
    """Selects examples and writes them, unless this very selection is in output_dir already.

    Args:
      predictions_dir: folder that labelling.label wrote. output_dir: folder for the selection.
      per_class: K, how many examples of each class to select.
      splits: names of the splits to select from; None: all that are predicted.
      rank_all: True: every example is a candidate for every class, ranked by its stored float16
        probability. False: only for its likeliest class.
      short: what to do with a class of fewer than K examples: "repeat" them in order until there
        are K, or "leave" them as they are.
      overwrite: replaces another selection that is in output_dir.

    Raises:
      ValueError: in one line, as `begin` and `write`.
    """
    plan, names = begin(predictions_dir, output_dir, per_class, splits, rank_all, short, overwrite)
    if names:
        kept, histogram = best_of(predictions_dir, plan, names, per_class, rank_all)
        write(predictions_dir, output_dir, plan, names, kept, histogram, per_class, rank_all, short)
        say(output_dir, plan)


def begin(predictions_dir, output_dir, per_class, splits=None, rank_all=False, short="repeat",
          overwrite=False):
    """Checks everything before the selection; see `select` for the arguments.

    Returns:
      (plan of the predictions, names of the shards to select from); no names where this very
      selection is in output_dir already.

    Raises:
      ValueError: in one line: there are too few examples, a split was not predicted, output_dir
        holds other files, or another selection and `overwrite` is off.
    """
    plan = prediction_files.read_plan(predictions_dir)
    names = names_of(predictions_dir, plan, splits)
    count = sum(prediction_files.count(predictions_dir, name) for name in names)
    if per_class > count:
        raise ValueError(f"--per_class={per_class}: {predictions_dir} has {count} "
                         "examples in all; ask for fewer, or predict more")
    os.makedirs(output_dir, exist_ok=True)
    foreign = sorted(name for name in os.listdir(output_dir) if not _is_own(name))
    if foreign:
        raise ValueError(f"--output_dir={output_dir} holds {foreign[0]!r}, which is no part "
                         "of a selection: choose a new or empty folder")
    if overwrite or not os.path.exists(os.path.join(output_dir, selection.REPORT)):
        return plan, names
    made_of = _made_of(predictions_dir, plan, per_class, rank_all, short)
    if not _is_there(output_dir, names, made_of):
        raise ValueError(f"--output_dir={output_dir} holds another selection, or a damaged "
                         "one: choose a new folder, or add --overwrite to replace it")
    print(f"{output_dir}: this selection is there already", flush=True)
    return plan, []


def _is_own(name):
    return name.startswith(storage.PARTIAL) or name in (
        selection.ARRAYS, selection.REPORT, selection.MONTAGE)


def _made_of(predictions_dir, plan, per_class, rank_all, short):
    """What a selection depends on besides its shards: a part of selection.json."""
    return {"model": plan["model"], "num_classes": plan["num_classes"],
            "per_class": per_class, "rank_all": rank_all, "short": short,
            "predictions": prediction_files.fingerprint(predictions_dir)}


def _is_there(output_dir, names, made_of):
    try:
        found = selection.load(output_dir)
    except ValueError:
        return False
    report = storage.read_json(os.path.join(output_dir, selection.REPORT))
    return found.shards == tuple(names) and made_of == {key: report.get(key) for key in made_of}


def names_of(predictions_dir, plan, splits):
    """Names of the shards of `splits`; ValueError for a split not predicted, or given twice."""
    found, given = prediction_files.splits_of(plan), ",".join(splits or ())
    if len(set(splits or ())) < len(splits or ()):
        raise ValueError(f"--splits={given} names a split twice: expected each once")
    for split in splits or ():
        if split not in found:
            raise ValueError(f"--splits={given}: {predictions_dir} has no predictions "
                             f"of {split!r}, only of {', '.join(found)}")
    return [name for split in splits or found for name in found[split]]


def best_of(folder, plan, names, per_class, rank_all=False):
    """Finds the best candidates for every class.

    Args:
      folder, plan: of the predictions. names: of the shards to select from.
      per_class: K. rank_all: see `select`.

    Returns:
      (kept, histogram): kept has for each class {column: array [<= K]}, in rank order; histogram is
      int64 [classes], for how many examples each class is the likeliest.
    """
    classes = plan["num_classes"]
    best = [Best(per_class) for _ in range(classes)]
    histogram = np.zeros(classes, np.int64)
    with Bar(len(names), " files", "selecting") as bar:
        for i, name in enumerate(names):
            shard = prediction_files.read_shard(folder, name, plan)
            histogram += np.bincount(shard.top, minlength=classes)
            for label, found in candidates(shard, i, rank_all, per_class,
                                           [one.worst for one in best]):
                best[label].add(found)
            bar.update(1)
    return [one.take() for one in best], histogram


def candidates(shard, i, rank_all, per_class, worst=None):
    """Yields (class, candidates for it) from the predictions for one shard.

    Args:
      shard: a prediction_files.Shard. i: its index among the shards that are selected from.
      rank_all, per_class: see `select`.
      worst: float [classes], candidates with a larger `rest` are left out; None: none are.
    """
    classes = shard.probs.shape[1]
    if rank_all:
        for label in range(classes):
            yield label, best_rows(_columns(shard, i, np.arange(len(shard.key)),
                                            1 - shard.probs[:, label].astype(np.float32)),
                                   per_class, None if worst is None else worst[label])
        return
    order = np.argsort(shard.top, kind="stable")
    ends = np.searchsorted(shard.top[order], np.arange(classes + 1))
    for label in np.unique(shard.top):
        rows = order[ends[label]:ends[label + 1]]
        yield int(label), best_rows(_columns(shard, i, rows, shard.rest[rows]), per_class,
                                    None if worst is None else worst[label])


def _columns(shard, i, rows, rest):
    return {"rest": rest, "key": shard.key[rows], "shard": np.full(len(rows), i, np.int32),
            "number": shard.number[rows]}


def best_rows(found, per_class, worst=None):
    """The K candidates of smallest `rest`, in its order, ties by key; none with rest > `worst`."""
    if worst is not None:
        found = {name: column[found["rest"] <= worst] for name, column in found.items()}
    order = np.lexsort((found["number"], found["shard"], found["key"], found["rest"]))[:per_class]
    return {name: column[order] for name, column in found.items()}


class Best:
    """Collects candidates for one class and keeps the best K; holds fewer than 3 * K.

    Attributes:
      worst: candidates with a larger `rest` cannot be among the best any more.
    """

    def __init__(self, per_class):
        self._per_class, self._parts, self._held, self.worst = per_class, [], 0, np.inf

    def add(self, found):
        """Adds candidates, {column: array}."""
        self._parts.append(found)
        self._held += len(found["rest"])
        if self._held >= 2 * self._per_class:
            self.take()

    def take(self):
        """Returns the best K candidates so far, {column: array}, in rank order."""
        if not self._parts:
            return {"rest": np.zeros(0, np.float32), "key": np.zeros(0, "S1"),
                    "shard": np.zeros(0, np.int32), "number": np.zeros(0, np.int32)}
        joined = {name: np.concatenate([part[name] for part in self._parts]) for name in COLUMNS}
        best = best_rows(joined, self._per_class)
        self._parts, self._held = [best], len(best["rest"])
        if self._held == self._per_class:
            self.worst = best["rest"][-1]
        return best


def write(predictions_dir, output_dir, plan, names, kept, histogram, per_class, rank_all=False,
          short="repeat"):
    """Writes selection.npz, selection.json and the montage.

    Args:
      plan, names: what `begin` returned. kept, histogram: what `best_of` returned.
      predictions_dir, output_dir, per_class, rank_all, short: see `select`.

    Raises:
      ValueError: in one line: two of the kept examples have the same key.
    """
    _check_unique(predictions_dir, names, kept)
    rows = [np.resize(np.arange(len(best["rest"])), per_class)
            if short == "repeat" and len(best["rest"]) else np.arange(len(best["rest"]))
            for best in kept]
    columns = {name: np.concatenate([best[name][row] for best, row in zip(kept, rows)])
               for name in COLUMNS}
    width = np.char.str_len(columns["key"]).max(initial=1)  # concatenated ones may be wider
    chosen = selection.Selection(
        shards=tuple(names), sizes=np.array([plan["shards"][name] for name in names], np.int64),
        shard=columns["shard"], number=columns["number"],
        key=columns["key"].astype(f"S{width}"),
        label=np.repeat(np.arange(len(kept), dtype=np.int32), [len(row) for row in rows]),
        confidence=(1 - columns["rest"].astype(np.float64)).astype(np.float32))
    report = select_report.report(plan, kept, rows, histogram, per_class)
    report.update(_made_of(predictions_dir, plan, per_class, rank_all, short), shards=len(names))
    sheet = None
    with pictures.or_warn("the montage of the selection"):
        sheet = select_report.montage(plan, names, kept)
    for name in sorted(filter(_is_own, os.listdir(output_dir)), key=selection.REPORT.__ne__):
        os.remove(os.path.join(output_dir, name))   # another's or a killed one's; the report first
    if sheet is not None:
        pictures.write(os.path.join(output_dir, selection.MONTAGE),
                       lambda file: sheet.save(file, "PNG"))
    selection.save(output_dir, chosen, report)      # last: with its report a selection is finished


def check_written(predictions_dir, output_dir, plan, names, per_class, rank_all=False,
                  short="repeat"):
    """Checks that `write`, on whatever machine, wrote this selection; the arguments are its own.

    Raises:
      ValueError: in one line: this selection is not in output_dir.
    """
    made_of = _made_of(predictions_dir, plan, per_class, rank_all, short)
    if not _is_there(output_dir, names, made_of):
        raise ValueError(f"{output_dir} does not hold the selection after the work's end: expected "
                         "that all workers see this folder at this path; give a folder on a file "
                         "system that they share, and run the same command again")


def say(output_dir, plan):
    """Prints the report of the selection in `output_dir`; `plan` is that of the predictions."""
    report = storage.read_json(os.path.join(output_dir, selection.REPORT))
    print("\n".join(select_report.lines(report)), flush=True)
    if not os.path.exists(os.path.join(output_dir, selection.MONTAGE)):
        print(f"no montage: no image can be read in {', '.join(plan['sources'])}", flush=True)
    print(f"{output_dir}: {report['selected']} examples", flush=True)


def _check_unique(predictions_dir, names, kept):
    """Raises ValueError where two kept examples, of any classes, have the same key."""
    keys, shards, numbers = (np.concatenate([best[name] for best in kept])
                             for name in ("key", "shard", "number"))
    order = np.lexsort((numbers, shards, keys))
    keys, shards, numbers = keys[order], shards[order], numbers[order]
    twice = np.flatnonzero((keys[1:] == keys[:-1]) & (
        (shards[1:] != shards[:-1]) | (numbers[1:] != numbers[:-1])))
    if len(twice):
        where = [names[shards[i]] for i in (twice[0], twice[0] + 1)]
        key = prediction_files.shown(keys[twice[0]])
        raise ValueError(f"{predictions_dir}: the key {key} is in {' and in '.join(where)}: "
                         "expected every example once; give the images names of their own, and "
                         "prepare and predict them again")

