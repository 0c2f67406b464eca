"""Flag files: arguments and files read in order, where files are found, and the text of --help.

The syntax is absl's. Nested flag files are also found beside the file that includes them, and
mistakes are ValueErrors of one line. No TensorFlow.
"""

import difflib
import os
import re
import textwrap

from mpl_tf.common import command
from mpl_tf.config.flags import describe

HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")


def read_arguments(arguments, switches, file=None, stack=()):
    """Yields (name, text, place) of all flags in their order, flag files read where they stand.

    Args:
      arguments: strings such as "--seed=1", "--seed", "1", "--noplots", "--flagfile=FILE".
      switches: names of the boolean flags.
      file, stack: the file that the arguments are lines of; it and the files that led to it.

    `text` is None where a value is missing. `place` is "" on the command line, " (in FILE)" in a
    file.
    """
    place = f" (in {file})" if file else ""
    arguments = iter(arguments)
    for argument in arguments:
        if not re.match("--?[A-Za-z]", argument):
            raise ValueError(f"{argument!r}{place} is not a flag: expected --NAME=VALUE")
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
            raise ValueError(f"--flagfile={text}{place} is a file that leads here: flag files may "
                             "not include each other in a circle; remove that line")
        yield from read_arguments(_lines(path), switches, path, (*stack, os.path.realpath(path)))


def shipped():
    """The folder of the flag files that come with this package, as str.

    In a checkout it is flags/ beside the package, in an installed one a folder within it.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.join(os.path.dirname(package), "flags")
    return checkout if os.path.isfile(os.path.join(checkout, "digits.cfg")) else os.path.join(
        package, "flagfiles")


def _find(path, file, place):
    """The path of a flag file.

    One that a file names is looked for beside that file first, then beside its folder, so that
    flags/variant.cfg finds --flagfile=flags/base.cfg from any working directory; then from here;
    at last, by its name, among those that come with this package.
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
    close = difflib.get_close_matches(os.path.basename(path), known, n=1)
    raise ValueError(f"--flagfile={path}{place}: no such file; " + (
        f"did you mean --flagfile={os.path.join(os.path.dirname(path), close[0])}?" if close
        else "expected a file of flags, such as digits.cfg"))


def _lines(path):
    """The flags of a file: its lines without comments and blanks."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--flagfile={path} cannot be read as text ({error}): expected a file "
                         "with one --NAME=VALUE a line") from None
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    for line in lines:
        if re.search(r"\s#", line):
            raise ValueError(f"{line!r} (in {path}) has a comment after the value: expected "
                             "comments on lines of their own")
    return lines


def help_text(usage, fields, headings=True):
    """What --help prints: `usage`, then each of `fields` (of Flags) on a line or more."""
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
        name = f"  --{'[no]' if field.type is bool else ''}{field.name}"
        lines += textwrap.wrap(text, 98, initial_indent=f"{name:<27}", subsequent_indent=" " * 27,
                               break_on_hyphens=False)
    return "\n".join(lines)
