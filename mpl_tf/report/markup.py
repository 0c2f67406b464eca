"""HTML whose every text is escaped: only what this module made is markup.

    element("p", "a < b", element("b", name), class_="note")

Texts may be names that anybody chose: bytes that are no UTF-8, and characters that are not seen or turn
the direction of writing, are shown as escapes.
"""

import base64
import html
import re

from mpl_tf.common import command

_EMPTY = ("img", "meta", "br", "hr")


class Markup(str):
    """Text that is HTML already."""


def escaped(value):
    """Markup of any value: Markup as it is, a list joined, None nothing, all else as escaped text."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    if isinstance(value, (list, tuple)):
        return Markup("".join(map(escaped, value)))
    return Markup(html.escape(command.shown(command.readable(value))))


def element(name, *children, **attributes):
    """An element. Attributes are written without a final _, with - for _; those that are None are left out."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
                    for key, value in attributes.items() if value is not None)
    inner = "" if name in _EMPTY else f"{escaped(children)}</{name}>"
    return Markup(f"<{name}{given}>{inner}")


def with_flags(text):
    """`text` as children of an element, each flag in it, such as --seed=3, kept on one line."""
    return [element("span", part, class_="flag") if part.startswith("--") else part
            for part in re.split(r"(--\w[\w=.]*\w)", text)]


def table(header, rows, numbers=(), caption=None, class_=None):
    """A table that scrolls within itself where it is too wide.

    Args:
      header: texts. rows: lists of cells. numbers: which columns hold numbers, set to the right.
    """
    def line(kind, cells):
        return element("tr", [element(kind, cell, class_="n" if i in numbers else None)
                              for i, cell in enumerate(cells)])
    return element("div", element(
        "table", element("caption", caption) if caption else None,
        element("thead", line("th", header)), element("tbody", [line("td", row) for row in rows]),
        class_=class_), class_="wide")


def download(text, name, words):
    """A link that saves `text` as a file of `name`, from the page itself."""
    data = base64.b64encode(text.encode("utf-8-sig")).decode()
    return element("a", words, download=name, href=f"data:text/csv;base64,{data}")
