"""What all programs share: parsing, paths, errors of one line, exit codes; without TensorFlow.

    def main(arguments=None):
        return command.run(_main, arguments)

Exit codes: 0, the work is done; 1, the run failed; 2, the command cannot be carried out as given;
128 + its number, a signal ended the work (130 is Ctrl-C).
"""

import argparse
import ast
import collections
import difflib
import errno
import importlib.util
import itertools
import os
import re
import signal
import sys
import unicodedata

from mpl_tf.common import quiet, room

DONE, FAILED, USAGE = 0, 1, 2
MOST_SEEDS = 1000       # of a command that trains for each


class Stopped(Exception):
    """A signal ended the work early, and what was done has been saved. The text says so.

    Attributes:
      number: the signal's number.
    """

    def __init__(self, message, number=signal.SIGINT):
        super().__init__(message)
        self.number = number


def run(main, arguments=None, again="continues"):
    """Runs a program, and says on stderr, in one line, what went wrong.

    Args:
      main: a function of the arguments, a list of str without the program's name. It returns an
        exit code or None.
      arguments: those arguments; None stands for the process's own.
      again: what the same command does after Ctrl-C, a word.

    Returns:
      The exit code, see above.

    Raises:
      ValueError, OSError: an error with a text of several lines that did not arise in this
        package, so that the traceback shows where it arose. Other exceptions pass through too.
    """
    if hasattr(sys.stdout, "reconfigure"):      # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    # For this process and its workers, unless the user asks for more by a value of his own.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":
        quiet.while_importing("tensorflow")
    try:
        code = main(sys.argv[1:] if arguments is None else list(arguments)) or DONE
        if sys.stdout:
            sys.stdout.flush()      # here a full disk can still be told
        return code
    except KeyboardInterrupt:
        return fail(f"interrupted: the same command {again}", 128 + signal.SIGINT, "")
    except Stopped as stopped:
        print(stopped, flush=True)
        return 128 + stopped.number
    except BrokenPipeError:     # whoever read our output has seen enough
        _write_no_more()
        return 128 + signal.SIGPIPE
    except FloatingPointError as error:
        return fail(error, FAILED)
    except Exception as error:
        line = room.explained(error)
        if line is not None:
            _write_no_more()
            return fail(line, FAILED)
        if not isinstance(error, (ValueError, OSError)) or (
                "\n" in str(error).strip() and not _is_own(error)):     # show where it arose
            raise
        failed = getattr(error, "errno", None) == errno.EIO or isinstance(error, ConnectionError)
        return fail(error, FAILED if failed else USAGE)


def _write_no_more():
    """Drops what standard output still holds if it cannot be written: Python would try it again."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_own(error):
    """Whether a module of ours raised `error`. Its text is one line, but for names a user gave."""
    traceback = error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    package = traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0]
    return package in ("mpl_tf", "data_prep")


def fail(message, code, begin="error: "):
    """Prints `message` in one line on stderr, after the words `begin`; returns `code`."""
    line = shown(" ".join(f"{begin}{message}".split()))
    print(readable(line), file=sys.stderr, flush=True)
    return code


def readable(text):
    """`text` with bytes that are no UTF-8, which a name may have, as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def shown(text):
    """`text` with what changes how a terminal shows the rest, which a name may have, as escapes.

    These are line ends, control characters, and what is not seen itself (Unicode's category Cf),
    such as marks that turn the direction of writing.
    """
    return "".join(each.encode("unicode_escape").decode()
                   if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") else each for each in text)


def counted(count, one, many):
    """A number and what there are so many of: "1 image lies", "2 images lie"."""
    return f"{count} {one if count == 1 else many}"


def path(text, flag="path"):
    """The path that a user named, with a leading ~ replaced by the home folder.

    A shell does that only in some places, and never in a flag file.

    Args:
      text: the path as it was given.
      flag: the flag that gave it, with which an error begins.

    Raises:
      ValueError: in one line, for the home folder of a user that does not exist.
    """
    expanded = os.path.expanduser(text)
    if text.startswith("~") and expanded == text:
        raise ValueError(f"{flag}={text}: there is no such user: expected ~/ for your own home "
                         "folder, or ./~ for a name that begins with ~")
    return expanded


def require_folder(path: str, flag: str = "source_dir",
                   expected: str = "the folder of the raw files", inside: str = "") -> None:
    """Raises FileNotFoundError, in one line, unless `path`, which a flag names, is a folder.

    inside: the name of a folder in it that has to be there.
    """
    if not os.path.isdir(os.path.join(path, inside)):
        found = "a file" if os.path.exists(os.path.join(path, inside)) else "nothing"
        where = f"{found} is at {inside}/ in it" if inside and os.path.isdir(path) else f"{found} is there"
        raise FileNotFoundError(f"--{flag}={path}: {where}; expected {expected}")


def list_programs(package, names):
    """Runs `python -m package`, which lists the programs in a package, one a line.

    Args:
      package: the package's name.
      names: the names of its programs, which are modules or packages in it.

    Returns:
      The exit code: 2 where it was given anything, since a program has a command of its own.
    """
    return run(lambda arguments: _list(package, names, arguments))


def _list(package, names, arguments):
    if set(arguments) - {"-h", "--help"}:
        close = difflib.get_close_matches(arguments[0], names, n=1)
        raise ValueError(f"{arguments[0]!r}: a program is run as python -m {package}.PROGRAM; " + (
            f"did you mean python -m {package}.{close[0]}?" if close
            else f"python -m {package} lists them"))
    print(f"usage: python -m {package}.PROGRAM ...      (--help: what it takes)\n")
    for name in names:      # read, not imported, as a program may need what is not installed
        with open(importlib.util.find_spec(f"{package}.{name}").origin, encoding="utf-8") as file:
            what = ast.get_docstring(ast.parse(file.read())).splitlines()[0]
        what = what.partition(": `python")[0].rstrip(".")
        print(f"  python -m {package}.{name:<14} {what}")


def refuse(arguments, instead, place=" after --"):
    """Raises ValueError, in one line, for a flag that a program sets itself, which would have no effect.

    Args:
      arguments: the flags that the user gave. instead: {the name of such a flag: what to give}.
      place: where they were given, words for the error.
    """
    for text in arguments:
        name = text.lstrip("-").partition("=")[0]
        if text.startswith("-") and name in instead:
            raise ValueError(f"{text.partition('=')[0]}{place}: {instead[name]}")


_RATES = ("student_learning_rate", "teacher_learning_rate")
# What other programs call it.
_ELSEWHERE = {"epochs": ("train_steps",), "num_epochs": ("train_steps",), "lr": _RATES,
              "learning_rate": _RATES, "output": ("output_dir",), "gpus": ("strategy",)}


def unknown_flags(given, names, hint=""):
    """One line that refuses flags, all of them.

    Args:
      given: [(the flag's name without dashes, where it was given, such as " (in FILE)" or "")].
      names: the names of the flags that there are. hint: words for the end.
    """
    said = [f"unknown flag --{name}{place}: {suggestion(name, names)}"
            for name, place in dict.fromkeys(given)]
    return "; ".join(line.rstrip("?") for line in said[:-1]) + "; " * (len(said) > 1) + said[-1] + hint


def suggestion(name, names):
    """The end of a line that refuses the flag `name`: it suggests the most similar of `names`.

    If none is alike as a whole, it suggests up to 4 that have the most similar word.
    """
    name, names = name.replace("-", "_"), list(names)
    words = {word: None for known in names for word in known.split("_")}    # in their order
    close = [known for known in _ELSEWHERE.get(name, ()) if known in names]
    close = close or difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    if not close:
        for word in difflib.get_close_matches(name, words, n=1, cutoff=0.75):
            having = [known for known in names if word in known.split("_")]
            close = [word] if word in names else having[:4]
    close = close or difflib.get_close_matches(name, names, n=1)
    if not close:
        return "expected a flag that --help lists"
    return "did you mean " + "one of " * (len(close) > 1) + ", ".join(
        f"--{known}" for known in close) + "?"


class Parser(argparse.ArgumentParser):
    """argparse's parser, for the programs that have a few flags of their own.

    A mistake is one line on stderr, and the exit code 2.

    Args:
      module: the program's module, such as "mpl_tf.predict" for `python -m mpl_tf.predict`.
      description: what the program does. Its lines are printed as they are.
      kwargs: further arguments of argparse's.

    Attributes:
      hint: the end of the line that refuses an unknown flag.
    """

    hint = ""

    def __init__(self, module, description, **kwargs):
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        """Parses as argparse does, and keeps the arguments for `error`."""
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message):
        """Exits with `message`, or with an unknown flag: a missing flag may be a misspelt one."""
        known = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        _, _, rest = message.partition("unrecognized arguments: ")
        given = rest.split() if rest else itertools.takewhile(lambda text: text != "--", self._given)
        unknown = [name for name in (text.partition("=")[0] for text in given)
                   if name.startswith("--") and name[2:] not in known]
        if unknown and (rest or message.startswith("the following arguments are required")):
            message = unknown_flags([(name[2:], "") for name in unknown], known, self.hint)
        elif any(re.match("-[^-]", text) for text in self._given):
            message += "; names that begin with - go after --"
        sys.exit(fail(message, USAGE))


def whole(least, most=2 ** 31 - 1):
    """An argparse `type`: a whole number from `least` to `most`."""
    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            shown = text if len(text) <= 60 else f"{text[:60]}..."
            raise argparse.ArgumentTypeError(f"{shown!r}: expected a whole number of {least} or "
                                             f"more, and at most {most}")
        return value
    return parse


def seeds(text):
    """An argparse `type`: seeds, each once, such as "0,1,2" or "0-9,15"; returns a list of ints."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r" *(\d{1,10}) *(?:- *(\d{1,10}) *)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not 0 <= last - first < MOST_SEEDS - len(found) or last >= 2 ** 31:
            raise argparse.ArgumentTypeError(f"'{shown(text[:60])}': expected whole numbers of 0 or more such as 0,1,2 "
                                             f"or 0-9, and at most {MOST_SEEDS} of them")
        found += range(first, last + 1)
    twice = [seed for seed, count in collections.Counter(found).items() if count > 1]
    if twice:
        raise argparse.ArgumentTypeError(f"'{shown(text[:60])}' has the seed {twice[0]} twice: give each once")
    return found


def path_type(text):
    """An argparse `type`: a path, see `path`."""
    try:
        return path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
