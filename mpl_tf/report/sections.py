"""The sections of a report, each Markup of a run's Contents; what there is nothing to say of is left out."""

from __future__ import annotations

import dataclasses

import numpy as np

from mpl_tf.report import comparing, contents as contents_, pictures, statistics
from mpl_tf.report.markup import element, table, with_flags
from mpl_tf.run import confusion as run_confusion, curves as run_curves, seed_names

ROLES = ("student", "teacher")
MATRIX = 25             # classes up to which the whole confusion matrix is shown
LISTED = 1000           # classes up to which each has a row
FEW = 12                # classes from which on its letters are small
SHORT = 3               # letters of a class's name up to which it stands above its column as it is
CONFUSIONS = 8          # pairs of classes that are listed
WIDE = 0.03             # half an interval from which a page says that images are few


def percent(share, digits=1):
    """A share in per cent; a dash for none."""
    return "–" if share is None or not np.isfinite(share) else f"{100 * share:.{digits}f} %"


def interval(share):
    """An interval in words."""
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def roles_of(contents):
    """The roles of which there are predictions."""
    return [role for role in ROLES if role in contents.probabilities]


def title(contents, seeds):
    """What the page is of: a run by its folder, or several seeds of it by what their folders share."""
    folder = contents.config.model_dir
    name = folder.rstrip("/").rpartition("/")[2] or folder
    row, _ = seed_names.split(name) or (name, None)
    return f"Report of {name}" if seeds < 2 else f"Report of {row}, {seeds} seeds"


def summary(contents, compared):
    """What was trained on what; and of which run most of a page is that compares the seeds `compared`."""
    config, data = contents.config, contents.predicted
    said = (f" The comparison is over {len(compared)} seeds, all that follows it is of this one."
            if len(compared) > 1 else "" if list(compared) in ([], [config.seed]) else
            f" The comparison is of seed {compared[0]} alone, all else is of this one.")
    said += " No images are shown, as --noreport asks." * contents.withheld
    what = comparing.examples(config)
    return element("p", f"{config.method}{', ' + config.objective if config.facts.objective else ''} on "
                   f"{config.dataset}, {config.labeled_examples or 'all'} labeled {what}, "
                   f"{contents.results['train_steps']} steps, seed {config.seed}; "
                   f"{len(data.labels)} test {what}, {len(contents.class_names)} classes.{said}",
                   class_="note")


def by_class(contents, role):
    """The statistics.Share of each class's test images that a role gets right."""
    return statistics.by_class(contents.predicted.labels, contents.predicted.right(role), len(contents.class_names))


def accuracies(contents):
    """How often student and teacher are right, with intervals and how few images there are."""
    cards, half, config = [], 0.0, contents.config
    for role in roles_of(contents):
        right = contents.predicted.right(role)
        share = statistics.share(int(right.sum()), len(right))
        half = max(half, (share.high - share.low) / 2)
        cards.append(element(
            "div", element("div", role.capitalize()), element("div", percent(share.value), class_="big"),
            element("div", f"{share.right} of {share.count} test {comparing.examples(config, share.count)} right"),
            element("div", f"95 % interval {interval(share)}"),
            element("div", f"balanced over the classes: {percent(statistics.balanced(by_class(contents, role)))}"),
            class_="card"))
    notes, count = [], len(contents.predicted.labels)
    if half > WIDE:
        notes.append(f"{count} test {comparing.examples(config, count)} {'are' if count != 1 else 'is'} few: they "
                     "tell an accuracy to about "
                     f"±{100 * half:.0f} points only, and a smaller difference may be chance.")
    if "teacher" in contents.probabilities:
        ahead = statistics.paired(*(contents.predicted.right(role) for role in ("teacher", "student")))
        if ahead.low > 0 and ahead.p_value < comparing.SURE:
            notes.append(f"The teacher is ahead of the student by {100 * ahead.difference:.1f} points on the same "
                         f"{comparing.examples(config)}: the student may catch up with more steps (a larger "
                         "--train_steps continues the run).")
    return [element("h2", "How often it is right"), element("div", cards, class_="cards"),
            [element("p", with_flags(note), class_="note") for note in notes]]


def comparison(found, runs, others):
    """The run beside its companions: means over seeds first, then each seed."""
    if not found:
        return None
    rows, what = [], comparing.examples(found[0].pairs["student"][0].run.config)
    for against in found:
        for role, pairs in against.pairs.items():
            label = f"{role} against {against.label}"
            if len(pairs) > 1:
                mean = against.mean(role)
                rows.append([element("b", f"{label}, mean"), f"{mean.count} seeds",
                             element("b", comparing.points(mean.value)),
                             f"{comparing.points(mean.low)} to {comparing.points(mean.high)}", None, None,
                             f"above on {mean.above}", None])
            for pair in pairs:
                one, (right, other) = pair.paired, pair.rights
                rows.append([label, pair.run.seed, comparing.points(one.difference),
                             f"{comparing.points(one.low)} to {comparing.points(one.high)}",
                             percent(float(right.mean())), percent(float(other.mean())),
                             f"{one.first_only} : {one.second_only}", f"{one.p_value:.2g}"])
    notes = [element("p", f"{against.label} differs further: {line}", class_="note")
             for against in found for line in against.unlike]
    return [element("h2", "Did the meta gradient help?"), _means(runs, others),
            element("p", f"The same test {what} were given to all. The difference is this run's accuracy minus "
                    "the other's, in points. It stays open which of them is better where the interval holds 0 "
                    "or, for one seed, McNemar's p is 0.05 or more. "
                    f"The interval of one seed covers other test {what}, that of several seeds other seeds "
                    "too.", class_="note"),
            table(["", "seed", "difference", "95 % interval", "this run", "other",
                   "only this : only other right", "exact McNemar p"], rows, numbers=range(1, 8),
                  class_="comparison"), notes]


def _means(runs, others):
    """The mean accuracy of each row of a comparison over several seeds."""
    if not runs or len(runs) < 2:
        return None
    rows, groups = [], comparing.by_kind(runs[0].config, others)
    for name, group in (("this flag file", runs), *((label, group) for (_, label), group in groups.items())):
        rights = [run.predicted.right("student") for run in group]
        mean = statistics.mean([float(right.mean()) for right in rights])
        of_images = statistics.share(round(mean.value * len(rights[0])), len(rights[0]))
        rows.append([name, percent(mean.value), interval(dataclasses.replace(
            mean, low=max(min(mean.low, of_images.low), 0), high=min(max(mean.high, of_images.high), 1))),
            mean.count])
    return [element("p", "Accuracy of the student, mean over seeds:"),
            table(["", "mean", "95 % interval", "seeds"], rows, numbers=(1, 2, 3))]


def classes(contents):
    """Each class's accuracy, and which classes are taken for which."""
    names, roles, what = contents.class_names, roles_of(contents), f"test {comparing.examples(contents.config)}"
    shares = {role: by_class(contents, role) for role in roles}
    listed, rows = range(len(names)), []
    if len(names) > LISTED:
        listed = sorted((k for k in listed if shares["student"][k].count),
                        key=lambda k: shares["student"][k].value)[:LISTED]
    for k in listed:
        name, first = names[k], shares["student"][k]
        rows.append([name, first.count, element("span", element(
            "span", "", class_="bar", style=f"width:{100 * first.value:.0f}%"), class_="track")
            if first.count else None, *(percent(shares[role][k].value) for role in roles),
            interval(first) if first.count else f"no {what}"])
    note = None
    if len(rows) < len(names):
        which = "of which the student gets least right" if len(rows) == LISTED else f"that have {what}"
        note = element("p", f"The {len(rows)} of {len(names)} classes {which}; all are in report.csv.")
    return [element("h2", "Each class"), note,
            table(["class", what, "", *roles, "95 % interval of the student"], rows,
                  numbers=(1, *range(3, 4 + len(roles)))), confusion(contents)]


def confusion(contents):
    """The student's confusion matrix by class name, or its largest entries where there are many classes."""
    names, what = contents.class_names, f"test {comparing.examples(contents.config)}"
    both = contents.predicted.labels, contents.predicted.classes("student"), len(names)
    mistakes = run_confusion.mistakes(*both, CONFUSIONS)
    listed = table(["really", "taken for", what],
                   [[names[i], names[j], number] for i, j, number in mistakes], numbers=(2,))
    head = [element("h2", "What is taken for what (student)")]
    if not mistakes:
        return [*head, element("p", f"None of the {what} was taken for another class.")]
    if len(names) > MATRIX:
        return [*head, listed]
    rows = []
    for i, row in enumerate(run_confusion.counts(*both)):
        total = max(row.sum(), 1)
        rows.append(element("tr", element("th", names[i]), [element(
            "td", int(value) or "", class_="n", style=f"background:rgba({'0,114,178' if i == j else '213,94,0'},"
            f"{0.85 * value / total:.2f})") for j, value in enumerate(row)]))
    whole = element("div", element(
        "table", element("thead", element("tr", element("th", "really ↓ taken for →"),
                                          [element("th", name) for name in names])),
        element("tbody", rows), class_=" ".join(["confusion", *["many"] * (len(names) > FEW), *["turned"] * (
            max(map(len, names)) > SHORT)])), class_="wide")
    return [*head, whole, listed]


def calibration(contents):
    """Whether it is as often right as it is sure."""
    bins = {role: statistics.reliability(contents.probabilities[role].max(axis=1), contents.predicted.right(role))
            for role in roles_of(contents)}
    errors = "; ".join(f"{role} {100 * statistics.calibration_error(each):.1f} points (expected calibration error)"
                       for role, each in bins.items())
    surest = {role: float(contents.probabilities[role].max(axis=1).mean()) for role in bins}
    words = "; ".join(f"{role}: {percent(value)} sure on average, right in "
                      f"{percent(float(contents.predicted.right(role).mean()))}" for role, value in surest.items())
    return [element("h2", "Is it as right as it is sure?"),
            element("p", f"{words[0].upper()}{words[1:]}. Between the two, as a mean over examples: {errors}."),
            _figure(pictures.figure(pictures.draw_reliability(bins)),
                    "How often student and teacher are right, by how sure they are; on the dotted line both "
                    "agree. Larger dots stand for more of them.")]


def _figure(made, words):
    if made is None:
        return None
    url, width, height = made
    return element("figure", element("img", src=url, width=width, height=height, alt=words),
                   element("figcaption", words), style="margin:0")


def curves(contents):
    """Accuracies and losses over the steps."""
    evaluations = contents.results["evaluations"]
    return [element("h2", "How training went"), element("div", [
        _figure(pictures.figure(pictures.draw_over_steps(lines, evaluations), height=3.8), words)
        for lines, words in ((run_curves.draw_accuracies, "Accuracy of student and teacher over the steps "
                              "of training."), (run_curves.draw_losses, "Losses, means between evaluations."))],
        class_="figures")]


def signal(contents):
    """The meta signal over time, where it was logged."""
    found = contents_.signal(contents.results)
    if not found:
        return None
    return [element("h2", "The meta signal"),
            _figure(pictures.figure(pictures.draw_signal(found), height=1.7 * len(found) + 0.4),
                    "The meta gradient beside the gradient of the teacher's own objective, over the teacher's "
                    "weights: how long it is, before the meta weight, and whether they point the same way (cosine 1) or against each "
                    "other (-1).")]


def settings(contents):
    """The flags that were given."""
    from mpl_tf.config import FIELDS
    given = {name: value for name, value in contents.config.flags.to_dict().items()
             if value != FIELDS[name].default}
    return element("details", element("summary", "Settings of this run (flags that are not at their defaults)"),
                   table(["flag", "value"], [[f"--{name}", str(value)] for name, value in given.items()]))
