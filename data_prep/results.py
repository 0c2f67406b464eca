"""Compares what was written with what was planned: what --skip_corrupt may leave out, and what not."""

import collections

from mpl_tf.common.command import readable

MUCH = 0.1      # of a split; when more cannot be read, the copy is damaged rather than an image


def lost_class(split, class_names, part):
    """Says, in words, which class has lost all its images of a split; None if none has.

    Args:
      split: a shards.SplitPlan. class_names: list of str.
      part: what dataset.json says of the split, a dict.
    """
    if not part["skipped"] or not split.labeled or not class_names:
        return None
    items = split.items[:]
    planned = collections.Counter(item[split.label_at] for item in items)
    for label, count in sorted(planned.items()):
        if not part["class_histogram"][label]:
            names = tuple(f"{item[0]}: " for item in items if item[split.label_at] == label)
            first = next((line for line in part["skipped"] if line.startswith(names)), "")
            return (f"none of the {count} images of {class_names[label]!r} in {split.name} can be "
                    f"read, the first is {readable(first)}")
    return None


def fewer(replaced, splits, output_dir):
    """Lines about what --overwrite replaces by less, such as a data set made with one table more.

    Args:
      replaced: the contents of dataset.json, or None. splits: of shards.Plan.describe().
    """
    if not replaced:
        return []
    before = replaced["plan"]["splits"]
    less = [f"{before[name]['examples']} examples of {name}, now {splits.get(name, {'examples': 0})['examples']}"
            for name in before if name in ("train", "test")
            and splits.get(name, {"examples": 0})["examples"] < before[name]["examples"]]
    return [f"{output_dir} had {' and '.join(less)}; what is replaced was made by: {replaced.get('command')}"] if (
        less) else []


def warnings(split, class_names, part):
    """Lines about a split of which much cannot be read; arguments as in `lost_class`."""
    skipped, total = len(part["skipped"]), len(split.items)
    lines = []
    if skipped > MUCH * total:
        lines.append(f"{split.name}: {skipped} of {total} images, {skipped / total:.0%}, cannot be "
                     "read and are left out: see whether they were copied whole")
    if skipped and split.labeled and class_names:
        planned = collections.Counter(item[split.label_at] for item in split.items[:])
        poor = [(label, count) for label, count in sorted(planned.items())
                if part["class_histogram"][label] < count / 2]
        if poor:
            label, count = poor[0]
            lines.append(f"{split.name}: {len(poor)} classes keep less than half of their images, "
                         f"such as {class_names[label]!r}, {part['class_histogram'][label]} of "
                         f"{count}")
    return lines
