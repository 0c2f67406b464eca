"""The files of a report: report.html, report.csv and label_next.csv.

A label_next.csv in which somebody has written classes stays, and label_next_2.csv is the new one.
"""

from __future__ import annotations

import itertools
import os
import re

from mpl_tf.common import spreadsheet, storage
from mpl_tf.report import galleries, page, sections, statistics

PAGE, FIGURES, NEXT = "report.html", "report.csv", "label_next.csv"
HEADER = ("network", "figure", "value", "low", "high", "count")


def check(folder, flag):
    """Raises ValueError, in one line, unless a report can be written into `folder`, which `flag` names.

    What this program wrote may be renewed; a page or a table of anybody else stays.
    """
    for name in storage.entries(folder, flag) or ():
        if name in (PAGE, FIGURES) and not _is_ours(os.path.join(folder, name), name):
            raise ValueError(f"{flag}={folder} has a {name} that this program did not write: it stays as it is; "
                             f"move it elsewhere, or choose another {flag}")


def _is_ours(path, name):
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        begin = file.read(len(page.OPENING))
    if name == PAGE:
        return begin == page.OPENING
    return re.split("[,;\t]", begin.partition("\n")[0]) == list(HEADER)      # as spreadsheets save it, too


def write(folder, contents, found=(), runs=None, others=()):
    """Writes the report of a run's Contents into `folder`; the other arguments are those of page.page.

    Returns:
      The names of the files.
    """
    text = page.page(contents, found, runs, others)
    with storage.partial(os.path.join(folder, PAGE)) as temporary, open(
            temporary, "w", encoding="utf-8") as file:
        file.write(text)
    spreadsheet.write(os.path.join(folder, FIGURES), HEADER, [*figures(contents), *differences(found)])
    rows = galleries.label_rows(contents)
    name = next_name(folder)
    if rows:
        spreadsheet.write(os.path.join(folder, name), galleries.HEADER, rows)
    return [PAGE, FIGURES, *[name] * bool(rows)]


def next_name(folder):
    """NEXT, or with a number the first name whose table holds no classes: those that a person wrote stay."""
    base, suffix = os.path.splitext(NEXT)
    names = itertools.chain([NEXT], (f"{base}_{number}{suffix}" for number in itertools.count(2)))
    return next(name for name in names if not spreadsheet.filled(os.path.join(folder, name), "class"))


def figures(contents):
    """Rows of report.csv: accuracies as fractions, with their intervals."""
    for role in sections.roles_of(contents):
        right, shares = contents.predicted.right(role), sections.by_class(contents, role)
        share = statistics.share(int(right.sum()), len(right))
        yield role, "test accuracy", share.value, share.low, share.high, share.count
        yield role, "test accuracy, balanced", statistics.balanced(shares), None, None, share.count
        bins = statistics.reliability(contents.probabilities[role].max(axis=1), right)
        yield role, "expected calibration error", statistics.calibration_error(bins), None, None, share.count
        for k, (name, each) in enumerate(zip(contents.class_names, shares)):
            yield (role, f"test accuracy of class {k}, {name}", each.value if each.count else None, each.low,
                   each.high, each.count)


def differences(found):
    """Rows of report.csv: differences from companions, of each seed and over seeds."""
    for against in found:
        for role, pairs in against.pairs.items():
            for pair in pairs:
                one = pair.paired
                yield (role, f"difference from {against.label}, seed {pair.run.seed}", one.difference, one.low,
                       one.high, one.count)
                yield (role, f"exact McNemar p against {against.label}, seed {pair.run.seed}", one.p_value, None,
                       None, one.first_only + one.second_only)
            if len(pairs) > 1:
                mean = against.mean(role)
                yield (role, f"difference from {against.label}, mean over seeds", mean.value, mean.low, mean.high,
                       mean.count)
