"""CSV files for spreadsheets and programs, of names that anybody may have chosen.

A spreadsheet takes a cell that begins with = + - @ for a formula and runs it. Such a path gets ./ before
it, which names the same file, and other text a ', by which spreadsheets know text.
"""

import csv
import io
import os

from mpl_tf.common import command, storage

_FORMULAS = (*"=+-@\t\r\n", *"\uff1d\uff0b\uff0d\uff20")      # those of full width too


class Path(str):
    """A cell that is a path or the name of a file."""


def cell(value):
    """A value as it is written: numbers as they are, text so that no spreadsheet runs it.

    Bytes that are no UTF-8, which a name may have, are written as escapes.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = command.readable(value)
    if isinstance(value, Path):
        return os.path.join(os.curdir, text) if _is_formula(text) else text
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def plain(text):
    """The text of a cell that `cell` has written and that is no path: without the ' by which it is text."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text):
    return text.lstrip(" ").startswith(_FORMULAS)


def filled(path, column):
    """Whether a table is there that a person has written into a column of, which was written empty.

    A file that is no such table any more, such as a spreadsheet of that name, counts as filled too.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            content = file.read()
        first = content.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        rows = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator)
        return column not in (rows.fieldnames or ()) or any((row[column] or "").strip() for row in rows)
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError, csv.Error):
        return True


def write(path, header, rows):
    """Writes a table as CSV in UTF-8, whole or not at all; with a mark by which Excel knows it."""
    with storage.partial(path, shared=True) as temporary, open(
            temporary, "w", encoding="utf-8-sig", newline="") as file:
        file.write(text(header, rows))


def text(header, rows):
    """The same table as one str, without the mark."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    return file.getvalue()
