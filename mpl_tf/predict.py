"""Classifies images by a trained student: `python -m mpl_tf.predict --model_dir=DIR PATH...`

A PATH is an image file, or a folder of them at any depth, hidden ones left out. Prints a line for
each image: the file, then the likeliest classes with their probabilities; --json_lines prints JSON,
with all of them. An image that cannot be read is named on stderr, and the exit code is 1.
"""

import json
import os
import sys

import numpy as np

from mpl_tf import config as config_module
from mpl_tf.common import command, storage
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.run import run_folder, serving
from mpl_tf.shards import crops, image_files

BATCH = 64


def parse(arguments):
    """The command line's arguments; exits with one line for bad ones."""
    parser = Parser("mpl_tf.predict", __doc__)
    parser.add_argument("paths", nargs="+", type=path_type, metavar="PATH",
                        help="image files, or folders of them")
    parser.add_argument("--model_dir", type=path_type, required=True, help="folder of a finished run")
    parser.add_argument("--top", type=whole(1), default=3, help="classes shown (3)")
    parser.add_argument("--json_lines", action="store_true", help="print JSON, a line an image")
    return parser.parse_args(arguments)


def files_of(paths):
    """Files that `paths` name, whatever their suffix, and image files in folders, in order.

    Raises:
      ValueError: a path is not there, or a folder without images. OSError: one cannot be read.
    """
    files = []
    for path in paths:
        if os.path.isdir(path):
            names, _ = image_files.list_images(path)
            if not names:
                raise ValueError(f"{path} holds no images: expected files like *.jpg or *.png; "
                                 "correct the path")
            files += [os.path.join(path, name) for name in names]
        elif os.path.isfile(path):
            files.append(path)
        else:
            raise ValueError(f"{path}: there is no such file or folder; correct the path")
    return files


def read_image(path, shape, crop):
    """uint8 [H, W, C] as data_prep and the evaluation of a run make it: the central square, resized.

    Args:
      path: of an image file; its EXIF orientation is applied.
      shape: (H, W, C) of the network's input, H = W.
      crop: one of crops.CROPS.

    Raises:
      ValueError: in one line, for a file that is no image.
    """
    try:
        with open(path, "rb") as file:
            converted = image_files.convert(file.read(), orient=True)
        pixels = crops.evaluation_crop(converted.encoded, shape[0], crop)
    except Exception as error:      # Pillow raises whatever a damaged file leads it to
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is no image that can be read ({reason}): remove or mend "
                         "it") from error
    if shape[2] == 1:
        pixels = pixels.mean(axis=-1, keepdims=True).round().astype(pixels.dtype)
    return pixels


def main(arguments=None):
    """Runs a command line, a list of str (None: the process's); returns the exit code."""
    return command.run(_main, arguments)


def _main(arguments):
    chosen = parse(arguments)
    run = config_module.of(**run_folder.read_flags(chosen.model_dir))
    files = files_of(chosen.paths)
    names = storage.read_json(os.path.join(chosen.model_dir, run_folder.CLASSES))
    if run.source.points:
        raise ValueError(f"model_dir={chosen.model_dir} classifies points, not images: use "
                         "its saved_model from Python")
    view = serving.view_of(run)
    network = serving.Served(chosen.model_dir, view["size"], len(names) if names else None)
    return classify(network, files, view["crop"], names, chosen)


def classify(network, files, crop, names, chosen):
    """Prints a line for each file; 1 if one could not be read, else 0.

    Args:
      network: a serving.Served. crop: one of crops.CROPS. names: of its classes, or None.
      chosen: this program's arguments.
    """
    code = 0
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
            print(line(path, row, names, chosen.top, chosen.json_lines), flush=True)
    return code


def line(path, probabilities, names, top, as_json):
    """What is printed of one image; `names` may be None, then classes are numbers.

    Names need not differ (two of ImageNet's classes are cranes): JSON has pairs, by class number.
    """
    named = [(names[k] if names else str(k), float(p)) for k, p in enumerate(probabilities)]
    best = sorted(named, key=lambda pair: -pair[1])
    if as_json:
        return json.dumps({"path": path, "class": best[0][0], "probabilities": named})
    return f"{path}: " + ", ".join(f"{name} {p:.3f}" for name, p in best[:top])


if __name__ == "__main__":
    sys.exit(main())
