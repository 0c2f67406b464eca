"""Inspects shards in the schema of Szegedy et al., whoever wrote them, record by record.

    python -m data_prep.inspect --source_dir=SHARDS [--output_dir=DIR]

The program decodes every image. For each split it prints the number of examples, the classes and image
sizes, the keys that some examples lack, and each broken record with file and position. With
--output_dir it also writes report.json, with the whole tables of classes and keys, and a montage of
each split. The exit code is 1 if anything is broken.
"""

import collections
import os
import statistics
import sys

import numpy as np

from data_prep import command
from data_prep import workers as work
from mpl_tf.common import pictures, storage
from mpl_tf.common.bar import Bar
from mpl_tf.common.command import readable, shown
from mpl_tf.datasets import prepared
from mpl_tf.shards import image_files, montage, schema, tfrecord
from mpl_tf.shards.tfrecord import CorruptRecord

REPORT = "report.json"
SHOWN = 20              # how many broken records, and how many classes, are printed
TILES = 8 * montage.COLUMNS     # most images in a montage


def run(arguments):
    """Inspects a folder as the command line says; the exit code."""
    flags = command.parser(
        "inspect", __doc__, "folder with shards like train-00000-of-01024",
        output="folder for report.json and the montages (default: neither is written)",
        skip="exit with code 0 even if records are broken",
        overwrite="replace the report and the montages that are in output_dir").parse_args(arguments)
    command.require_folder(flags.source_dir, expected="a folder of shards")
    splits = tfrecord.find_splits(flags.source_dir)
    if not splits:
        raise FileNotFoundError(f"--source_dir={flags.source_dir} has no shards: expected files "
                                f"like {tfrecord.shard_name('train', 0, 1024)}")
    if flags.output_dir is not None:
        os.makedirs(flags.output_dir, exist_ok=True)
        if os.path.exists(os.path.join(flags.output_dir, REPORT)) and not flags.overwrite:
            raise ValueError(f"--output_dir={flags.output_dir} holds a {REPORT} already: choose "
                             "another folder, or give --overwrite")
    report, written = {}, [REPORT]
    for split, files in splits.items():
        report[split], tiles = inspect_split(flags.source_dir, split, files, flags.seed,
                                             flags.workers)
        print("\n".join(lines(split, report[split])), flush=True)
        if flags.output_dir is not None and tiles:
            written.append(f"{split}.png")
            pictures.write(os.path.join(flags.output_dir, written[-1]),
                           lambda file, tiles=tiles: montage.sheet(tiles).save(file, "PNG"))
    if flags.output_dir is not None:
        storage.write_json(os.path.join(flags.output_dir, REPORT), report)
        print(f"in {flags.output_dir}: {', '.join(written)}", flush=True)
    broken = sum(len(part["broken"]) for part in report.values())
    return 1 if broken and not flags.skip_corrupt else 0


def inspect_split(folder, split, files, seed=0, workers=1):
    """Inspects the shards `files` of a split.

    Returns:
      (report, tiles): a dict of JSON, and a list for montage.sheet of up to TILES examples.
    """
    expected, broken = _expected(folder, split)
    try:
        tfrecord.find_shards(folder, split)
    except ValueError as error:
        broken.append(str(error))
    per_file = -(-TILES // len(files))
    arguments = [(os.path.join(folder, name), expected.get(name), seed, per_file)
                 for name in files]
    found = {}
    with Bar(len(files), " files", f"inspecting {split}") as bar:
        for part in work.results(inspect_file, arguments, min(workers, len(files))):
            found[part["path"]] = part
            bar.update(1)
    parts = [found[path] for path, *_ in arguments]
    keys, histogram = collections.defaultdict(collections.Counter), collections.Counter()
    text, formats, seen = {}, collections.Counter(), {}
    for part in parts:
        broken += part["broken"]
        histogram.update(part["labels"])
        formats.update(part["formats"])
        text.update(part["text"])
        for key, kinds in part["keys"].items():
            keys[key].update(kinds)
        for key, place in part["seen"]:
            if key in seen:
                broken.append(f"{place}: the same record as {seen[key]}: expected every example "
                              "once")
            seen.setdefault(key, place)
    broken += [] if broken else _otherwise(folder, split, [
        sum(part["records"] for part in parts), histogram])
    report = {
        "files": len(files), "records": sum(part["records"] for part in parts),
        "bytes": sum(part["bytes"] for part in parts), "formats": dict(formats),
        "height": _spread([size[0] for part in parts for size in part["sizes"]]),
        "width": _spread([size[1] for part in parts for size in part["sizes"]]),
        "keys": {key: dict(kinds) for key, kinds in sorted(keys.items())},
        "labeled": sum(histogram.values()), "classes": len(histogram),
        "examples_per_class": _spread(list(histogram.values())),
        "class_histogram": {str(label): {"examples": histogram[label], "text": text.get(label, "")}
                            for label in sorted(histogram)},
        "broken": broken}
    return report, [tile for part in parts for tile in part["tiles"]][:TILES]


def inspect_file(path, expected=None, seed=0, num_tiles=0):
    """Inspects one file; returns a dict that can be pickled, whose "broken" lists all problems.

    Args:
      path: of a TFRecord file.
      expected: {"examples", "sha256"} of the file from dataset.json, or None.
      seed, num_tiles: seed that chooses the images for the montage, and their number.
    """
    problems = []
    offsets, lengths = tfrecord.scan(path, problems)
    result = {"path": path, "records": len(offsets), "bytes": os.path.getsize(path), "sizes": [],
              "labels": collections.Counter(), "formats": collections.Counter(), "text": {},
              "keys": collections.defaultdict(collections.Counter), "seen": [], "tiles": []}
    random = np.random.default_rng(seed)
    shown = set(random.permutation(len(offsets))[:num_tiles].tolist())
    with open(path, "rb", buffering=0) as file:
        for number, (offset, length) in enumerate(zip(offsets, lengths)):
            try:
                payload = tfrecord.read(file, offset, length, number)
                _inspect_record(payload, tfrecord.position(path, number, offset), result,
                                number in shown)
            except CorruptRecord as error:
                problems.append(error)
    result["broken"] = [str(problem) for problem in problems]
    if expected and not result["broken"] and storage.sha256(path) != expected["sha256"]:
        result["broken"] = [f"{path}: its {len(offsets)} records are not, byte for byte, those that "
                            f"were prepared ({expected['examples']} records): get or prepare it "
                            "again"]
    result["keys"] = {key: dict(kinds) for key, kinds in result["keys"].items()}
    return result


def _inspect_record(payload, where, result, shown):
    """Adds one record to the result of its file; CorruptRecord if something is wrong with it."""
    features = schema.features(payload, where)
    for key, (kind, values) in features.items():
        result["keys"][key][f"{kind} x {len(values)}" if len(values) < 2 else f"{kind} x many"] += 1
    record = schema.decode(payload, where, labels=schema.LABEL in features)
    try:
        with image_files.opened(record.encoded, image_files.OF_RECORDS) as image:
            kind, mode = image.format, image.mode
            image.load()
    except MemoryError:
        raise
    except Exception as error:      # a damaged image can raise nearly anything
        raise CorruptRecord(f"{where}: the image of {len(record.encoded)} bytes cannot be decoded "
                            f"({' '.join(str(error).split())[:100]}): prepare the file "
                            "again") from error
    if record.height and record.width and (record.height, record.width) != image.size[::-1]:
        raise CorruptRecord(f"{where}: the image has {image.height} x {image.width} pixels, but "
                            f"the record says {record.height} x {record.width}: prepare the file "
                            "again")
    result["sizes"].append(image.size[::-1])
    result["formats"][f"{kind} {mode}"] += 1
    if record.label is not None:
        result["labels"][record.label] += 1
        result["text"].setdefault(record.label, record.text or record.synset)
    if shown:
        # Of an unlabeled image's path the file's own name: the folders are the same for many.
        caption = record.filename.rpartition("/")[2] if record.label is None else (
            f"{record.label} {record.text or record.synset}")
        with pictures.or_warn(f"{where}: the tile for the montage"):
            result["tiles"].append((caption, np.asarray(montage.tile(image))))
    result["seen"].append((schema.identity(payload, record), where))


def lines(split, report):
    """Formats a split's report as lines of text."""
    result = [f"{split}: {report['records']} records in {report['files']} files, "
              f"{report['bytes'] / 1e6:.1f} MB; {_counts(report['formats'])}",
              f"  height: {_words(report['height'])}; width: {_words(report['width'])}"]
    if report["labeled"]:
        result.append(f"  {report['labeled']} labeled, {report['classes']} classes, examples of "
                      f"each: {_words(report['examples_per_class'])}")
        classes = [f"{found['text'] or label} {found['examples']}"
                   for label, found in report["class_histogram"].items()]
        more = [f"and {len(classes) - SHOWN} more"] * (len(classes) > SHOWN)
        result.append("  " + ", ".join(classes[:SHOWN] + more))
    else:
        result.append("  unlabeled")
    read = max((sum(kinds.values()) for kinds in report["keys"].values()), default=0)
    odd = [key for key, kinds in report["keys"].items() if _is_odd(kinds, read)]
    result.append(f"  {len(report['keys']) - len(odd)} keys are in every one of {read} records")
    result += [f"  {key}: {_counts(report['keys'][key])}" for key in odd]
    broken = report["broken"]
    result.append(f"  broken: {len(broken) or 'nothing'}")
    result += [f"    {line}" for line in broken[:SHOWN]]
    if len(broken) > SHOWN:
        result.append(f"    and {len(broken) - SHOWN} more")
    return [shown(readable(line)) for line in result]


def _is_odd(kinds, records):
    """Whether a key is missing in some records, or has values of several types."""
    return sum(kinds.values()) != records or len({kind.partition(" ")[0] for kind in kinds}) > 1


def _expected(folder, split):
    """({file: its entry in dataset.json}, list of what is wrong with dataset.json)."""
    try:
        sidecar = prepared.read_sidecar(folder)
        shards = sidecar["splits"].get(split, {"shards": []})["shards"] if sidecar else []
        return {shard["file"]: shard for shard in shards}, []
    except (ValueError, KeyError, TypeError) as error:
        return {}, [str(error) if isinstance(error, ValueError) else
                    f"{os.path.join(folder, prepared.SIDECAR)} lacks {error}: prepare the folder "
                    "again"]


def _otherwise(folder, split, counts):
    """What dataset.json says of a split otherwise than `counts`, [records, Counter of labels]."""
    sidecar = prepared.read_sidecar(folder)
    if not sidecar:
        return []
    path = os.path.join(folder, prepared.SIDECAR)
    part = sidecar["splits"].get(split)
    if part is None:
        return [f"{path} does not list these shards: get or prepare the folder again"]
    records, histogram = counts
    told = [("records", part.get("examples"), records)] + [
        (f"examples of label {label + 1}", said, histogram[label])
        for label, said in enumerate(part.get("class_histogram") or ())]
    return [f"{path} says {said} {what}, but there are {found}: get or prepare the folder again"
            for what, said, found in told if said != found]


def _spread(values):
    return {"least": min(values), "median": statistics.median(values), "most": max(values)
            } if values else None


def _words(spread):
    if spread is not None and spread["least"] == spread["most"]:
        return f"{spread['most']:g}"
    return "none" if spread is None else ", ".join(f"{k} {v:g}" for k, v in spread.items())


def _counts(counter):
    return ", ".join(f"{count} {what}" for what, count in sorted(counter.items())) or "none"


if __name__ == "__main__":
    sys.exit(command.main(run))
