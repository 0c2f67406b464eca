"""Reports on a selection: counts, confidences, classes with too few examples, and some images.

The column `rest` of a candidate is one minus the likeliest class's probability, see selecting.py.
"""

import os

import numpy as np

from mpl_tf.common.command import readable, shown
from mpl_tf.reduced import forward
from mpl_tf.shards import crops, montage as montages, schema, tfrecord

BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
SHOWN_CLASSES, SHOWN_EXAMPLES = 16, 8       # rows and columns of the montage


def report(plan, kept, rows, histogram, per_class):
    """Computes the figures in selection.json, a dict of JSON.

    Args:
      plan: of the predictions. kept: for each class {column: array} of its candidates, in rank
        order.
      rows: for each class an array of indices into them: those selected, repeats included.
      histogram: int [classes], number of examples by their likeliest class. per_class: K.
    """
    names = plan["class_names"] or [str(k) for k in range(len(kept))]
    confidence = [1 - best["rest"].astype(np.float64) for best in kept]
    bins = np.histogram(np.concatenate(confidence), BINS)[0]
    return {
        "examples": int(histogram.sum()), "selected": sum(len(row) for row in rows),
        "different": sum(len(each) for each in confidence),
        "histogram_of_confidence": {f"{low:g}-{high:g}": int(number) for low, high, number in
                                    zip(BINS, BINS[1:], bins)},
        "classes": [{
            "class": name, "likeliest_of": int(likeliest), "selected": len(row),
            "different": len(each), "short": bool(len(each) < per_class),
            "highest": _rounded(each.max() if len(each) else None),
            "median": _rounded(np.median(each) if len(each) else None),
            "lowest": _rounded(each.min() if len(each) else None)}
            for name, likeliest, row, each in zip(names, histogram, rows, confidence)]}


def lines(report):
    """Formats the report as lines of text."""
    short = [each for each in report["classes"] if each["different"] < report["per_class"]]
    result = [f"{report['examples']} examples, {report['selected']} selected, of them "
              f"{report['different']} different; {report['per_class']} of each of "
              f"{len(report['classes'])} classes asked for",
              "confidence: " + ", ".join(f"{name} {number}" for name, number in
                                         report["histogram_of_confidence"].items() if number)]
    lowest = [each["lowest"] for each in report["classes"] if each["lowest"] is not None]
    if lowest:
        result.append(f"the lowest of a class: {min(lowest)} to {max(lowest)}")
    if short:
        done = {"repeat": "repeated", "leave": "left as they are"}[report["short"]]
        if any(not each["different"] for each in short):
            done += ", those with none stay empty"
        result.append(f"{len(short)} classes have fewer and are {done}: " + ", ".join(
            f"{each['class']} {each['different']}" for each in short[:10])
            + (", ..." if len(short) > 10 else ""))
    return [shown(readable(line)) for line in result]


def montage(plan, names, kept):
    """Draws a montage: a row for each class, from its most to its least confident example.

    Returns:
      A Pillow image; None where no image can be read, for example because folders were removed.
    """
    folders = {name: folder for folder in plan["sources"] for name in names
               if folder == "digits" or os.path.isfile(os.path.join(folder, name))}
    filled = [label for label, best in enumerate(kept) if len(best["rest"])]
    step = -(-len(filled) // SHOWN_CLASSES)
    tiles = []
    for label in filled[::step]:
        best = kept[label]
        for row in np.linspace(0, len(best["rest"]) - 1, SHOWN_EXAMPLES).round().astype(int):
            name = names[best["shard"][row]]
            if name not in folders:
                continue
            pixels = _image(folders[name], name, int(best["number"][row]), plan["view"])
            if pixels is None:
                continue
            class_name = plan["class_names"][label] if plan["class_names"] else label
            tiles.append((f"{1 - best['rest'][row]:.3f} {class_name}", pixels))
    return montages.sheet(tiles) if tiles else None


def _image(folder, name, number, view):
    """The image of a record, uint8 [TILE, TILE, 3]; None where it cannot be read any more."""
    from PIL import Image
    if folder == "digits":
        image = Image.fromarray(forward.digits()[number, ..., 0])
    else:
        path = os.path.join(folder, name)
        try:
            offsets, lengths = tfrecord.scan(path, [])
            payload = tfrecord.read(path, offsets[number], lengths[number], number)
            encoded = schema.decode(payload, path, labels=False).encoded
            image = Image.fromarray(crops.evaluation_crop(encoded, **view))
        except Exception:   # a damaged image raises whatever its decoder does
            return None
    return np.asarray(image.convert("RGB").resize((montages.TILE, montages.TILE),
                                                  Image.Resampling.NEAREST))


def _rounded(value):
    return None if value is None else round(float(value), 6)
