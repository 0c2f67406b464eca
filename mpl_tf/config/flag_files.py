"""Reads arguments and flag files in order, finds flag files, and writes the text of --help.

The syntax is absl's. Unlike absl's, nested flag files are also found beside the file that names
them, and a mistake is a ValueError of one line. This module does not import TensorFlow.
"""

import codecs
import difflib
import itertools
import os
import re
import textwrap

from mpl_tf.common import command, formats
from mpl_tf.config.flags import describe

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DEEPEST, MOST_FILES = 100, 1000
MOST_BYTES = 1 << 20    # of a file of text
HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


def read_arguments(arguments, switches, file=None, stack=(), read=None):
    """Yields (name, text, place) of each flag, in order. A flag file's flags take its place.

    `text` is the value as it was written, or None if there is none. `place` is "" for a flag of the
    command line, and " (in FILE)" for one of a file.

    Args:
      arguments: strings such as "--seed=1", "--seed", "1", "--noplots", "--flagfile=FILE".
      switches: the names of the boolean flags.
      file: the flag file whose lines the arguments are, or None for the command line.
      stack: the real paths of that file and of those that led to it.
      read: counts the flag files that were read so far, all in all.

    Raises:
      ValueError: in one line, for an argument that is no flag, or a flag file that is missing,
        cannot be read, or includes itself; and for more files, or deeper ones, than anybody writes:
        each of thirty files may include the next one twice.
    """
    read = itertools.count(1) if read is None else read
    place = f" (in {file})" if file else ""
    arguments = iter(arguments)
    for argument in arguments:
        if not re.match("--?[A-Za-z]", argument):
            hint = (f"did you mean --flagfile={argument}?" if argument.endswith(".cfg")
                    else f"did you mean --model_dir={argument}?" if os.path.isdir(argument) or (
                        os.path.dirname(argument)) else "expected --NAME=VALUE")
            raise ValueError(f"{argument!r}{place} is not a flag: {hint}")
        name, equals, text = re.sub("^--?", "", argument).partition("=")
        if not equals:
            if name in switches:
                text = "true"
            elif name.startswith("no") and name[2:] in switches:
                name, text = name[2:], "false"
            else:
                text = None if file else next(arguments, None)
                text = None if (text or "").startswith("--") else text
        if name != "flagfile":
            yield name, text, place
            continue
        path = _find(text or "", file, place)
        if os.path.realpath(path) in stack:
            raise ValueError(f"--flagfile={text}{place} includes the file that it is in: flag "
                             "files may not include each other in a circle; remove that line")
        if len(stack) >= DEEPEST or next(read) > MOST_FILES:
            raise ValueError(f"--flagfile={text}{place}: expected flag files that include each other "
                             f"at most {DEEPEST} deep, and at most {MOST_FILES} of them in all, each "
                             "counted as often as it is included; put what they share into fewer")
        yield from read_arguments(_lines(path), switches, path, (*stack, os.path.realpath(path)),
                                  read)


def shipped():
    """The path of the folder of flag files that come with this package.

    In a checkout that is flags/ beside the package, in an installation a folder within it.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.join(os.path.dirname(package), "flags")
    return checkout if os.path.isfile(os.path.join(checkout, "digits.cfg")) else os.path.join(
        package, "flagfiles")


def _find(path, file, place):
    """The path of the flag file that was named `path` in `file`, or on the command line.

    It is looked for in this order:
      1. In the folder of `file`, and in that folder's parent, so that flags/variant.cfg finds
         --flagfile=flags/base.cfg from any working directory.
      2. In the working directory.
      3. By its name, among the flag files that come with this package.
    """
    path = command.path(path.strip(), "--flagfile")
    folder = os.path.dirname(file or "")
    starts = [folder, os.path.join(folder, os.pardir), ""] if file else [""]
    candidates = [os.path.join(start, path) for start in starts]
    if os.path.dirname(path) in ("", "flags"):
        candidates.append(os.path.join(shipped(), os.path.basename(path)))
    for candidate in candidates:
        if path and os.path.exists(candidate):
            return os.path.normpath(candidate)
    near = os.path.dirname(path) or "."
    known = os.listdir(near) if os.path.isdir(near) else []
    if near in (".", "flags"):
        known += os.listdir(shipped())
    # Without the ends, which make any two flag files alike.
    stems = {os.path.splitext(name)[0]: name for name in sorted(known)}
    close = difflib.get_close_matches(os.path.splitext(os.path.basename(path))[0], stems, n=1)
    raise ValueError(f"--flagfile={path}{place}: no such file; " + (
        f"did you mean --flagfile={os.path.join(os.path.dirname(path), stems[close[0]])}?" if close
        else f"expected a file of flags, such as digits.cfg; {shipped()} holds those that come with "
        "this package"))


def read_text(path: str, said: str, expected: str) -> str:
    """The text of a file that a person has written.

    Args:
      said: the flag that names it, such as "--flagfile=PATH". expected: of it, both for errors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: in one line: it cannot be read, is too large, or no text.
    """
    data = b""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"{said} has more than {MOST_BYTES} bytes: {expected}")
        # Editors of Windows write a byte-order mark, and some of them UTF-16.
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        what = formats.described(data) if data else ""
        why = f"it is {what}" if what else getattr(error, "strerror", None) or error
        raise ValueError(f"{said} cannot be read as text ({why}): "
                         f"{expected}") from None
    if "\0" in text:
        raise ValueError(f"{said} has null characters, as no text has: {expected}, in UTF-8")
    return text


def _lines(path):
    """The flags of a file: its lines without comments and blank ones."""
    text = read_text(path, f"--flagfile={path}", "expected a file of text with one --NAME=VALUE a line")
    # A file that was made of several has the mark of each.
    lines = [line.strip().removeprefix("\ufeff").strip() for line in re.split("\r\n|\r|\n", text)]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    for line in lines:
        if re.search(r"\s#", line):
            raise ValueError(f"{line!r} (in {path}) has a comment after the value: expected "
                             "comments on lines of their own; a value with ' #' in it goes on the "
                             "command line")
    return lines


def help_text(usage, fields, headings=True):
    """The text that --help prints: `usage`, and then each of `fields`, which are fields of Flags.

    Args:
      headings: whether to head the groups of flags.
    """
    lines = [usage, ""]
    for field in fields:
        facts = describe(field)
        if headings and facts["heading"]:
            lines += [""] * (lines[-1] != "") + [facts["heading"]]
        default = facts.get("derived", field.default)
        default = str(default).lower() if field.type is bool else default
        text = facts["help"]
        if "choices" in facts:
            text += f" One of {', '.join(facts['choices'])}."
        text += f" [{default}]" if default != "" else ""
        name = f"  --{'[no]' if field.type is bool else ''}{field.name} "
        lines += textwrap.wrap(text, 98, initial_indent=f"{name:<27}", subsequent_indent=" " * 27,
                               break_on_hyphens=False)
    return "\n".join(lines)
