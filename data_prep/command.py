"""The command line that all programs of data_prep share."""

import os
import shlex

from mpl_tf.common import command
from mpl_tf.common.command import Parser, path_type, whole
from mpl_tf.common.cores import cores


def parser(module, description, source, output=None, skip=None):
    """An arguments.Parser with the common flags.

    Args:
      module: "imagenet", for `python -m data_prep.imagenet`.
      description: what the program does, and where the raw files can be got.
      source: help for --source_dir.
      output, skip: help for --output_dir, which need not be given then, and for --skip_corrupt.
    """
    result = Parser(f"data_prep.{module}", description)
    result.add_argument("--source_dir", type=path_type, required=True, help=source)
    result.add_argument("--output_dir", type=path_type, required=output is None, help=output or "folder for the "
                        "shards, new or empty; one that an interrupted run left is continued")
    result.add_argument("--seed", type=whole(0), default=0, help="decides what is random "
                        "(default: %(default)s)")
    result.add_argument("--overwrite", action="store_true", help="remove what was prepared in "
                        "output_dir and start anew; other files are never removed")
    result.add_argument("--skip_corrupt", action="store_true", help=skip or "leave out images "
                        "that cannot be read, name and count them; without it they are an error")
    result.add_argument("--workers", type=whole(1), default=cores(), help="processes that convert "
                        "images (default: all cores, here %(default)s)")
    return result


def command_line(module, arguments):
    """The command that `arguments`, a list of str, were given to."""
    return shlex.join(["python", "-m", f"data_prep.{module}", *arguments])


def main(run, arguments=None):
    """Runs `run(arguments)`, a list of str; returns the exit code, see mpl_tf.common.command."""
    return command.run(run, arguments)


def require_folder(path, flag="source_dir", expected="the folder of the raw files"):
    """Raises FileNotFoundError unless `path` is a folder."""
    if not os.path.isdir(path):
        found = "a file" if os.path.exists(path) else "nothing"
        raise FileNotFoundError(f"--{flag}={path}: {found} is there; expected {expected}")
