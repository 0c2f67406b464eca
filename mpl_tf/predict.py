"""Classifies images with a trained student: `python -m mpl_tf.predict --model_dir=DIR PATH...`

A PATH is an image file, or a folder, whose image files at any depth are classified, except hidden
ones. Paths that begin with - go after -- (or are written ./-NAME). The program prints a line for each
image: the file, then the likeliest classes with their probabilities. With --json_lines the line is
JSON and has all classes. With --csv=FILE a table is written instead, of path, class, probability,
runner_up and entropy (in nats: 0 is sure). An image that cannot be read is named on stderr, and the exit code is 1.

Trust DIR as you trust a program. The weights are loaded into the network that DIR's config.json
names; only where they do not fit it, DIR's saved_model is run, which can do what any program can.
"""

import json
import os
import shlex
import sys

import numpy as np

from mpl_tf import config as config_module
from mpl_tf.common import command, spreadsheet
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.run import run_folder, serving
from mpl_tf.shards import crops, image_files, listing

BATCH = 64


def parse(arguments):
    """Parses the command line; exits with one line for bad arguments."""
    parser = Parser("mpl_tf.predict", __doc__)
    parser.add_argument("paths", nargs="*", type=path_type, metavar="PATH",
                        help="image files, or folders of image files; those that begin with - after --")
    parser.add_argument("--model_dir", type=path_type, required=True,
                        help="folder of the finished run whose student classifies")
    parser.add_argument("--top", type=whole(1), default=3, help="how many of the likeliest classes "
                        "to print for each image (default: %(default)s)")
    parser.add_argument("--json_lines", action="store_true",
                        help="print one JSON object per line for each image, with all classes")
    parser.add_argument("--csv", type=path_type, metavar="FILE", help="write a table to this new file, "
                        "instead of printing lines; a spreadsheet runs nothing of it, whatever names hold")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    chosen = parser.parse_args(arguments[:cut])         # argparse refuses -- where an option is before it
    chosen.paths += [command.path(path, "PATH") for path in arguments[cut + 1:]]
    if not chosen.paths:
        parser.error("the following arguments are required: PATH")
    if chosen.csv and chosen.json_lines:
        parser.error("--csv and --json_lines: expected one of them")
    return chosen


def require_new(path):
    """Raises ValueError, in one line, unless a new file can be written at `path`, which --csv names."""
    folder = os.path.dirname(path) or os.curdir
    if os.path.isdir(path):
        raise ValueError(f"--csv={path} is a folder: name a new file")
    if os.path.lexists(path):
        raise ValueError(f"--csv={path} is there already: name a new file, or remove it")
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise ValueError(f"--csv={path}: {folder} is not a folder that can be written to; create it, or name "
                         "another")


def files_of(paths):
    """Lists the files in `paths`, with any suffix, and the image files in its folders, in order.

    What a folder has besides images is counted on stderr.

    Raises:
      ValueError: a path does not exist, or a folder has no images.
      OSError: a folder cannot be read.
    """
    files = []
    for path in paths:
        if os.path.isdir(path):
            found = listing.list_images(path)
            if not found.names:
                raise ValueError(f"{path} holds no images: expected files like *.jpg or *.png; "
                                 "correct the path")
            files += [os.path.join(path, name) for name in found.names]
            for line in found.left_out(os.path.join(path, "")):
                print(command.shown(command.readable(line)), file=sys.stderr, flush=True)
        elif os.path.isfile(path):
            files.append(path)
        else:
            raise ValueError(f"{path}: there is no such file or folder; correct the path")
    return files


def read_image(path, shape, crop):
    """Reads an image as a run's evaluation does: its central square, resized to uint8 [H, W, C].

    Args:
      path: of an image file; its EXIF orientation is applied.
      shape: (H, W, C) of the network's input, H = W.
      crop: one of crops.CROPS.

    Raises:
      ValueError: in one line: the file is no image that can be read.
    """
    try:
        with open(path, "rb") as file:
            converted = image_files.convert(file.read(), orient=True)
        pixels = crops.evaluation_crop(converted.encoded, shape[0], crop)
    except OSError as error:
        if error.errno is None:     # Pillow's, of what the file holds
            raise ValueError(_no_image(path, error)) from error
        raise ValueError(f"{path} cannot be read ({error.strerror}): give this process permission "
                         "to read it, or leave it out") from error
    except MemoryError:
        raise
    except Exception as error:      # Pillow raises whatever a damaged file leads it to
        raise ValueError(_no_image(path, error)) from error
    if shape[2] == 1:
        pixels = pixels.mean(axis=-1, keepdims=True).round().astype(pixels.dtype)
    return pixels


def _no_image(path, error):
    reason = " ".join(str(error).split())[:120]
    return f"{path} is no image that can be read ({reason}): leave it out, or repair it"


def main(arguments=None):
    """Runs a command line, a list of str (None: the process's); returns the exit code."""
    return command.run(_main, arguments, again="begins anew")


def _main(arguments):
    chosen = parse(arguments)
    run = config_module.of(**{**run_folder.read_flags(chosen.model_dir),      # it may have moved
                              "model_dir": chosen.model_dir})
    if chosen.csv:
        require_new(chosen.csv)
    files = files_of(chosen.paths)
    names = run_folder.class_names(chosen.model_dir)
    if not run.source.serves_images:
        raise ValueError(f"--model_dir={chosen.model_dir} classifies points, not images: load its "
                         "saved_model in Python instead, see docs/serving.md")
    if not os.path.isdir(os.path.join(chosen.model_dir, "saved_model")):
        raise ValueError(f"--model_dir={chosen.model_dir} has no saved_model: the run is not finished, or "
                         "has --noexport; give the command that trained it again, with --export" + (
                             f" (python -m mpl_tf.evaluate --model_dir={shlex.quote(chosen.model_dir)} "
                             "tells the accuracy of its last checkpoint)"
                             if run_folder.has_checkpoint(chosen.model_dir) else ""))
    view = serving.view_of(run)
    network = serving.Served(chosen.model_dir, view["size"], len(names) if names else None)
    return classify(network, files, view["crop"], names, chosen)


def classify(network, files, crop, names, chosen):
    """Classifies the images in `files` and prints a line for each.

    Args:
      network: a serving.Served. crop: one of crops.CROPS. names: of its classes, or None.
      chosen: this program's arguments.

    Returns:
      The exit code: 1 if an image could not be read, else 0.
    """
    code, rows = 0, []
    for start in range(0, len(files), BATCH):
        images, readable = [], []
        for path in files[start:start + BATCH]:
            try:
                images.append(read_image(path, network.shape, crop))
                readable.append(path)
            except ValueError as error:
                code = command.fail(error, command.FAILED)
        if not images:
            continue
        probabilities = network(np.stack(images)).numpy()
        for path, row in zip(readable, probabilities):
            if chosen.csv:
                rows.append(table_row(path, row, names))
            else:
                print(line(path, row, names, chosen.top, chosen.json_lines), flush=True)
    if chosen.csv:
        spreadsheet.write(chosen.csv, ("path", "class", "probability", "runner_up", "entropy"), rows)
        readable = f"{len(rows)} of " if len(rows) < len(files) else ""     # the others are told above
        print(command.shown(f"{readable}{command.counted(len(files), 'image', 'images')} in {chosen.csv}"))
    return code


def table_row(path, probabilities, names):
    """The cells of --csv's row for one image."""
    named = names or [str(k) for k in range(len(probabilities))]
    best, second = np.argsort(-probabilities, kind="stable")[:2]
    positive = probabilities[probabilities > 0].astype(np.float64)
    return (spreadsheet.Path(path), named[best], round(float(probabilities[best]), 6), named[second],
            round(float(-(positive * np.log(positive)).sum()) + 0.0, 6))


def line(path, probabilities, names, top, as_json):
    """Formats the line for one image; where `names` is None, classes are called by their numbers.

    Two classes may have the same name (ImageNet has two cranes), so the JSON has a list of (name,
    probability) in the order of the class numbers instead of an object.
    """
    named = [(names[k] if names else str(k), float(p)) for k, p in enumerate(probabilities)]
    best = sorted(named, key=lambda pair: -pair[1])
    if as_json:
        return json.dumps({"path": path, "class": best[0][0], "probabilities": named})
    return command.shown(f"{path}: " + ", ".join(f"{name} {p:.3f}" for name, p in best[:top]))


if __name__ == "__main__":
    sys.exit(main())
