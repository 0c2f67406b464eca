"""The command line: arguments and flag files read in order, and the text of --help.

The syntax is absl's. Nested flag files are also found beside the file that includes them, and
mistakes are ValueErrors of one line. No TensorFlow.
"""

import argparse
import difflib
import itertools
import os
import re
import sys
import textwrap

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


def _find(path, file, place):
    """The path of a flag file: beside the including file, beside its folder, or from here.

    So flags/variant.cfg finds --flagfile=flags/base.cfg from any working directory.
    """
    path = os.path.expanduser(path.strip())
    folder = os.path.dirname(file or "")
    starts = [folder, os.path.join(folder, os.pardir), ""] if file else [""]
    for start in starts:
        candidate = os.path.join(start, path)
        if path and os.path.exists(candidate):
            return os.path.normpath(candidate)
    near = os.path.dirname(path) or "."
    close = difflib.get_close_matches(
        os.path.basename(path), os.listdir(near) if os.path.isdir(near) else [], n=1)
    raise ValueError(f"--flagfile={path}{place}: no such file; " + (
        f"did you mean --flagfile={os.path.join(os.path.dirname(path), close[0])}?" if close
        else "expected a file of flags, such as flags/digits.cfg"))


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


def suggestion(name, names):
    """The end of a line that refuses `name`: the most similar of `names`, if any is."""
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=1)
    return f"did you mean --{close[0]}?" if close else "expected a flag that --help lists"


class Parser(argparse.ArgumentParser):
    """argparse's, for the programs with a few flags of their own: a mistake is one line, exit code 2.

    Attributes:
      hint: ends the line that refuses an unknown flag.
    """

    hint = ""

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
        self.exit(2, f"error: {message}\n")


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


def help_text(usage, fields, headings=True):
    """What --help prints: `usage`, then each of `fields` (of Config) on a line or two."""
    lines = [usage, ""]
    for field in fields:
        if headings and field.metadata["heading"]:
            lines += [""] * (lines[-1] != "") + [field.metadata["heading"]]
        default = field.metadata.get("derived", field.default)
        default = str(default).lower() if field.type is bool else default
        choices = " | ".join(field.metadata.get("choices", ()))
        text = field.metadata["help"] + (f": {choices}" if choices else "")
        text += f" [{default}]" if default != "" else ""
        name = f"  --{'[no]' if field.type is bool else ''}{field.name}"
        lines += textwrap.wrap(text, 98, initial_indent=f"{name:<27}", subsequent_indent=" " * 27,
                               break_on_hyphens=False)
    return "\n".join(lines)
