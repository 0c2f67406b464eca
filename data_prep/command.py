"""The command-line flags and helpers that the programs of data_prep share."""

import shlex

from mpl_tf.common import command
from mpl_tf.common.command import Parser, counted, path_type, require_folder, shown, whole
from mpl_tf.common.cores import cores

__all__ = ["add_passes", "check_machines", "command_line", "counted", "main", "parser", "path_type", "require_folder", "say"]


def parser(module, description, source, output=None, skip=None, overwrite=None):
    """Returns a Parser with the common flags.

    Args:
      module: "imagenet", for `python -m data_prep.imagenet`.
      description: what the program does, and where to get the raw files.
      source: help for --source_dir.
      output: help for --output_dir, which is then optional; None: the flag is required.
      skip, overwrite: help for --skip_corrupt and --overwrite; None: the common one.
    """
    result = Parser(f"data_prep.{module}", description)
    result.add_argument("--source_dir", type=path_type, required=True, help=source)
    result.add_argument("--output_dir", type=path_type, required=output is None, help=output or
                        "folder for the shards: a new or empty one, or one that an interrupted run "
                        "left, which is then continued")
    result.add_argument("--seed", type=whole(0, 2 ** 63 - 1), default=0, help="seed of everything random "
                        "(default: %(default)s)")
    result.add_argument("--overwrite", action="store_true", help=overwrite or "remove what was "
                        "prepared in output_dir and start anew; other files are never removed")
    result.add_argument("--skip_corrupt", action="store_true", help=skip or "leave out images "
                        "that cannot be read, and report them; without this flag they are an error")
    result.add_argument("--workers", type=whole(1, 1000), default=cores(), help="number of processes "
                        "that convert images (default: one per core, here %(default)s)")
    return result


def add_passes(parser, batch_size):
    """Adds the flags of programs that pass images through a network, on several machines if need be."""
    parser.add_argument("--shard_index", type=whole(0), default=0, help="number of this machine, "
                        "counted from 0, among the --num_shards machines (default: %(default)s)")
    parser.add_argument("--num_shards", type=whole(1), default=1, help="number of machines that "
                        "share the files (default: %(default)s)")
    parser.add_argument("--batch_size", type=whole(1, 10 ** 6), default=batch_size, help="number of images in a "
                        "forward pass (default: %(default)s)")
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out and count images "
                        "that cannot be read; without this flag they are an error")


def check_machines(flags):
    """Returns the parsed `flags`; ValueError if this machine is none of them."""
    if flags.shard_index >= flags.num_shards:
        raise ValueError(f"--shard_index={flags.shard_index} with --num_shards={flags.num_shards}: "
                         f"expected 0 to {flags.num_shards - 1}; machines are counted from 0")
    return flags


def say(*lines):
    """Prints lines, each as one, whatever the names in them hold."""
    for line in lines:
        print(shown(line), flush=True)


def command_line(module, arguments):
    """The shell command that runs a program of data_prep with `arguments`, a list of str."""
    return shlex.join(["python", "-m", f"data_prep.{module}", *arguments])


def main(run, arguments=None):
    """Calls `run` with a list of str, the arguments; returns the exit code, see common.command."""
    return command.run(run, arguments)
