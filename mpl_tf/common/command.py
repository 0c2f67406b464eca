"""What all programs share: parsing, paths, errors of one line, exit codes. No TensorFlow.

    def main(arguments=None):
        return command.run(_main, arguments)

Exit codes: 0 done; 1 the run failed; 2 the command cannot be carried out as given; 130 Ctrl-C, and
128 + its number for another signal that ended the work.
"""

import argparse
import ast
import difflib
import errno
import importlib.util
import itertools
import os
import signal
import sys

DONE, FAILED, USAGE = 0, 1, 2
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}     # nothing that another command line would mend


class Stopped(Exception):
    """A signal ended the work early, after what was done had been saved; the text says so.

    Attributes:
      number: of the signal.
    """

    def __init__(self, message, number=signal.SIGINT):
        super().__init__(message)
        self.number = number


def run(main, arguments=None):
    """Runs a program; what goes wrong is one line on stderr.

    Args:
      main: function of a list of str, the arguments without the program's name; it returns an exit
        code or None.
      arguments: None for the process's own.

    Returns:
      The exit code, see above.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")      # of this process and its workers
    try:
        return main(sys.argv[1:] if arguments is None else list(arguments)) or DONE
    except KeyboardInterrupt:
        return fail("interrupted: the same command continues", 128 + signal.SIGINT, "")
    except Stopped as stopped:
        print(stopped, flush=True)
        return 128 + stopped.number
    except FloatingPointError as error:
        return fail(error, FAILED)
    except (ValueError, OSError) as error:
        if "\n" in str(error).strip() and not _is_own(error):   # show where it arose
            raise
        return fail(error, FAILED if getattr(error, "errno", None) in _FULL else USAGE)


def _is_own(error):
    """Whether a module of ours raised it: its text is one line, but for what a user named."""
    traceback = error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    return package in ("mpl_tf", "data_prep")


def fail(message, code, begin="error: "):
    """Says why in one line on stderr; returns `code`."""
    line = " ".join(f"{begin}{message}".split())
    print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    return code


def path(text, flag="path"):
    """A path that a user named: a leading ~ is the home folder, whoever wrote it.

    Raises:
      ValueError: in one line, for the home of a user that does not exist.
    """
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise ValueError(f"{flag}={text}: there is no such user: expected ~/ for your own home "
                         "folder, or ./~ for a name that begins with ~")
    return expanded


def list_programs(package, names):
    """What `python -m package` prints: the programs in a package, a line each.

    Args:
      package: its name. names: of its programs, modules or packages in it.
    """
    print(f"usage: python -m {package}.PROGRAM ...      (--help: what it takes)\n")
    for name in names:      # read, not imported: a program may need what is not installed
        with open(importlib.util.find_spec(f"{package}.{name}").origin, encoding="utf-8") as file:
            text = ast.get_docstring(ast.parse(file.read()))
        print(f"  python -m {package}.{name:<14} {text.splitlines()[0]}")


def suggestion(name, names):
    """The end of a line that refuses `name`: the most similar of `names`, if any is."""
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
    return f"did you mean --{close[0]}?" if close else "expected a flag that --help lists"


class Parser(argparse.ArgumentParser):
    """argparse's, for the programs with a few flags of their own: a mistake is one line, exit code 2.

    Args:
      module: "mpl_tf.predict", for `python -m mpl_tf.predict`.
      description: what the program does; its lines stay as they are.
      kwargs: argparse's.

    Attributes:
      hint: ends the line that refuses an unknown flag.
    """

    hint = ""

    def __init__(self, module, description, **kwargs):
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        """argparse's."""
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message):
        """Exits; a flag that is missing may be one that was misspelt."""
        known = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        _, _, rest = message.partition("unrecognized arguments: ")
        given = rest.split() if rest else itertools.takewhile(lambda text: text != "--", self._given)
        unknown = [name for name in (text.partition("=")[0] for text in given)
                   if name.startswith("--") and name[2:] not in known]
        if unknown and (rest or message.startswith("the following arguments are required")):
            message = f"unknown flag {unknown[0]}: {suggestion(unknown[0][2:], known)}{self.hint}"
        sys.exit(fail(message, USAGE))


def whole(least):
    """For argparse's `type`: whole numbers from `least` on."""
    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of {least} or more")
        return value
    return parse


def path_type(text):
    """For argparse's `type`: `path`."""
    try:
        return path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
