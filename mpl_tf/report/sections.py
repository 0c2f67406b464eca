"""The sections of a report, each Markup of a run's Contents; what there is nothing to say of is left out."""

from __future__ import annotations

import numpy as np

from mpl_tf.common import spreadsheet
from mpl_tf.report import comparing, contents as contents_, pictures, statistics
from mpl_tf.report.markup import download, element, table

ROLES = ("student", "teacher")
MATRIX = 25             # classes up to which the whole confusion matrix is shown
CONFUSIONS = 8          # pairs of classes that are listed
WIDE = 0.03             # half an interval from which a page says that images are few
HEADER = ("file", "class", "guess", "probability", "runner_up", "entropy")


class Budget:
    """How many thumbnails a page may still have."""

    def __init__(self, left):
        self.left = left

    def take(self, most):
        """As many of `most` as there are left; they count as used."""
        taken = min(most, self.left)
        self.left -= taken
        return taken


def percent(share, digits=1):
    """A share in per cent; a dash for none."""
    return "–" if share is None or not np.isfinite(share) else f"{100 * share:.{digits}f} %"


def interval(share):
    """An interval in words."""
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"


def roles_of(contents):
    """The roles of which there are predictions."""
    return [role for role in ROLES if role in contents.probabilities]


def summary(contents):
    """One line: what was trained on what."""
    config, data = contents.config, contents.predicted
    return element("p", f"{config.method}{', ' + config.objective if config.facts.objective else ''} on "
                   f"{config.dataset}, {config.labeled_examples or 'all'} labeled images, "
                   f"{contents.results['train_steps']} steps, seed {config.seed}; "
                   f"{len(data.labels)} test images, {len(contents.class_names)} classes.", class_="note")


def matrix_of(contents, role):
    """The confusion matrix of a role."""
    return statistics.confusion(contents.predicted.labels, contents.predicted.classes(role),
                                len(contents.class_names))


def accuracies(contents):
    """How often student and teacher are right, with intervals and how few images there are."""
    cards, half = [], 0.0
    for role in roles_of(contents):
        right = contents.predicted.right(role)
        share = statistics.share(int(right.sum()), len(right))
        half = max(half, (share.high - share.low) / 2)
        cards.append(element(
            "div", element("div", role.capitalize()), element("div", percent(share.value), class_="big"),
            element("div", f"{share.right} of {share.count} test images right"),
            element("div", f"95 % interval {interval(share)}"),
            element("div", f"balanced over the classes: {percent(statistics.balanced(matrix_of(contents, role)))}"),
            class_="card"))
    notes, count = [], len(contents.predicted.labels)
    if half > WIDE:
        notes.append(f"{count} test image{'s are' if count != 1 else ' is'} few: they tell an accuracy to about "
                     f"±{100 * half:.0f} points only, and a smaller difference may be chance.")
    if "teacher" in contents.probabilities:
        ahead = statistics.paired(*(contents.predicted.right(role) for role in ("teacher", "student")))
        if ahead.low > 0 and ahead.p_value < comparing.SURE:
            notes.append(f"The teacher is ahead of the student by {100 * ahead.difference:.1f} points on the same "
                         "images: the student may catch up with more steps (a larger --train_steps continues the run).")
    return [element("h2", "How often it is right"), element("div", cards, class_="cards"),
            [element("p", note, class_="note") for note in notes]]


def comparison(found, runs, others):
    """The run beside its companions: each seed, and all of them."""
    if not found:
        return None
    rows = []
    for against in found:
        for role, pairs in against.pairs.items():
            for pair in pairs:
                one = pair.paired
                rows.append([f"{role} against {against.label}", pair.run.seed,
                             percent(float(pair.run.predicted.right(role).mean())),
                             percent(float(pair.other.predicted.right(role).mean())),
                             comparing.points(one.difference),
                             f"{comparing.points(one.low)} to {comparing.points(one.high)}",
                             f"{one.first_only} : {one.second_only}", f"{one.p_value:.2g}"])
            if len(pairs) > 1:
                mean = against.mean(role)
                rows.append([element("b", f"{role} against {against.label}, mean"), f"{mean.count} seeds",
                             None, None, element("b", comparing.points(mean.value)),
                             f"{comparing.points(mean.low)} to {comparing.points(mean.high)}",
                             f"above on {mean.above}", None])
    notes = [element("p", f"{against.label} differs further: {line}", class_="note")
             for against in found for line in against.unlike]
    return [element("h2", "Did the meta gradient help?"),
            element("p", "The same test images were given to all. The difference is this run's accuracy minus "
                    "the other's, in points. An interval that holds 0 leaves open which of them is better. "
                    "The interval of one seed covers other test images, that of several seeds covers other "
                    "seeds, on these test images.", class_="note"),
            table(["", "seed", "this run", "other", "difference", "95 % interval", "only this : only other right",
                   "exact McNemar p"], rows, numbers=range(1, 8)), notes,
            _means(runs, others)]


def _means(runs, others):
    """The mean accuracy of each row of a comparison over several seeds."""
    if not runs or len(runs) < 2:
        return None
    groups = {"this flag file": runs}
    for other in others:
        groups.setdefault(comparing.NAMES.get(comparing.companions.kind(runs[0].config, other.config),
                                              "others"), []).append(other)
    rows = []
    for name, group in groups.items():
        mean = statistics.mean([float(run.predicted.right("student").mean()) for run in group])
        rows.append([name, percent(mean.value), f"{100 * mean.low:.1f} to {100 * mean.high:.1f} %", mean.count])
    return [element("p", "Accuracy of the student, mean over seeds:"),
            table(["", "mean", "95 % interval", "seeds"], rows, numbers=(1, 2, 3))]


def classes(contents):
    """Each class's accuracy, and which classes are taken for which."""
    names, roles = contents.class_names, roles_of(contents)
    shares = {role: statistics.by_class(matrix_of(contents, role)) for role in roles}
    rows = []
    for k, name in enumerate(names):
        first = shares["student"][k]
        rows.append([name, first.count, element("span", element(
            "span", "", class_="bar", style=f"width:{100 * first.value:.0f}%"), class_="track")
            if first.count else None, *(percent(shares[role][k].value) for role in roles),
            interval(first) if first.count else "no test images"])
    return [element("h2", "Each class"),
            table(["class", "test images", "", *roles, "95 % interval of the student"], rows,
                  numbers=(1, *range(3, 4 + len(roles)))), confusion(contents)]


def confusion(contents):
    """The student's confusion matrix by class name, or its largest entries where there are many classes."""
    matrix, names = matrix_of(contents, "student"), contents.class_names
    off = matrix - np.diag(np.diag(matrix))
    largest = [divmod(int(i), len(names)) for i in np.argsort(-off, axis=None, kind="stable")[:CONFUSIONS]]
    listed = table(["really", "taken for", "test images"],
                   [[names[i], names[j], off[i, j]] for i, j in largest if off[i, j]], numbers=(2,))
    head = [element("h2", "What is taken for what (student)")]
    if not off.any():
        return [*head, element("p", "No test image was taken for another class.")]
    if len(names) > MATRIX:
        return [*head, listed]
    rows = []
    for i, row in enumerate(matrix):
        total = max(row.sum(), 1)
        rows.append(element("tr", element("th", names[i]), [element(
            "td", int(value) or "", class_="n", style=f"background:rgba({'0,114,178' if i == j else '213,94,0'},"
            f"{0.85 * value / total:.2f})") for j, value in enumerate(row)]))
    whole = element("div", element(
        "table", element("thead", element("tr", element("th", "really \\ taken for"),
                                          [element("th", name) for name in names])),
        element("tbody", rows), class_="confusion"), class_="wide")
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
                    "agree. Larger dots stand for more images.")]


def _figure(made, words):
    if made is None:
        return None
    url, width, height = made
    return element("figure", element("img", src=url, width=width, height=height, alt=words),
                   element("figcaption", words), style="margin:0")


def _image(pixels, words):
    url, width, height = pictures.thumbnail(pixels)
    return element("img", src=url, width=width, height=height, alt=words, class_="pixels"
                   if max(width, height) < pictures.THUMBNAIL else None)


def _shown(images, positions):
    """uint8 [n, H, W, C] of images to look at, or None where there are none."""
    if images is None or not len(positions):
        return None
    try:
        found = images.pictures(positions)
    except (ValueError, OSError):       # a record that cannot be read any more
        return None
    return found if np.ndim(found) == 4 else None


def _gallery(images, positions, captions):
    found = _shown(images, positions)
    if found is None:
        return None
    return element("div", [element("figure", _image(pixels, " ".join(lines)), element(
        "figcaption", [element("div", line) for line in lines])) for pixels, lines in zip(found, captions)],
        class_="gallery")


def _sure(names, distribution):
    best = int(distribution.argmax())
    return f"{names[best]} {100 * distribution[best]:.0f} %"


def _of_test(contents, left, most, positions, heading, words, roles):
    if not len(positions) or _shown(contents.test, positions[:1]) is None:
        return None
    chosen, names = positions[:left.take(min(most, len(positions)))], contents.class_names
    called = contents_.names_of(contents.test, chosen)
    captions = [[f"really {names[contents.predicted.labels[i]]}",
                 *(f"{role}: {_sure(names, contents.probabilities[role][i])}" for role in roles), name]
                for i, name in zip(chosen, called)]
    return [element("h2", heading), element("p", words), _gallery(contents.test, chosen, captions)]


def mistakes(contents, left, most=16):
    """The test images of whose wrong class the student is surest."""
    wrong = contents_.confident_mistakes(contents, most)
    return _of_test(contents, left, most, wrong, "Its surest mistakes",
                    "Test images that the student gets wrong, the surest first. Some of their labels may be "
                    "wrong instead.", ("student",))


def disagreements(contents, left, most=12):
    """The test images of which teacher and student think differently."""
    found = contents_.disagreements(contents, len(contents.predicted.labels))
    rights = {role: int(contents.predicted.right(role)[found].sum()) for role in roles_of(contents)}
    return _of_test(contents, left, most, found, "Where teacher and student disagree",
                    f"They disagree on {len(found)} of {len(contents.predicted.labels)} test images; there the "
                    f"student is right on {rights.get('student', 0)}, the teacher on {rights.get('teacher', 0)}.",
                    ("student", "teacher"))


def label_rows(contents):
    """Rows of label_next.csv: the most uncertain unlabeled images, with an empty column for the class."""
    looked, names, rows = contents.unlabeled, contents.class_names, []
    if looked is None:
        return rows
    found = looked.probabilities["student"][looked.next]
    for name, distribution, entropy in zip(looked.names, found, statistics.entropy(found)):
        best, second = np.argsort(-distribution, kind="stable")[:2]
        rows.append([spreadsheet.Path(name), "", names[best], round(float(distribution[best]), 4),
                     names[second], round(float(entropy), 4)])
    return rows


def label_next(contents, left, most=16):
    """The unlabeled images of which the student is least sure."""
    looked, rows = contents.unlabeled, label_rows(contents)
    if not rows:
        return None
    chosen = looked.next[:most]
    found = _shown(looked.images, looked.positions[chosen][:1])
    gallery = None
    if found is not None:
        chosen = chosen[:left.take(len(chosen))]
        captions = [[_sure(contents.class_names, looked.probabilities["student"][i]), name]
                    for i, name in zip(chosen, looked.names)]
        gallery = _gallery(looked.images, looked.positions[chosen], captions)
    text = spreadsheet.text(HEADER, rows)
    return [element("h2", "What to label next"),
            element("p", f"The {len(rows)} unlabeled images of which the student is least sure, of "
                    f"{len(looked.positions)} that it looked at ({looked.total} there are): a person's label helps "
                    "most where it cannot decide. The table has an empty column for their classes: ",
                    download(text, "label_next.csv", "label_next.csv"), "."), gallery]


def views(contents, left, most=8):
    """The weak and strong views on which training learns."""
    if not contents.views:
        return None
    stacks = [np.asarray(np.clip((np.asarray(view) + 1) * 127.5, 0, 255).round(), np.uint8)
              for view in contents.views]
    count = left.take(min(most, len(stacks[0])) * len(stacks)) // len(stacks)
    if not count:
        return None
    words = ("weak", "strong")[:len(stacks)]
    return [element("h2", "What the networks see in training"),
            element("p", "Views of some unlabeled images" + (", the weak one above the strong one, on which the "
                    "student learns." if len(stacks) > 1 else ".")),
            element("div", [element("figure", element("div", [_image(stack[i], f"{word} view of an unlabeled image")
                                                              for word, stack in zip(words, stacks)], class_="views"))
                            for i in range(count)], class_="gallery")]


def curves(contents):
    """Accuracies and losses over the steps."""
    evaluations = contents.results["evaluations"]
    return [element("h2", "How training went"), element("div", [
        _figure(pictures.figure(pictures.draw_accuracies(evaluations), height=3.8), "Accuracy of student and teacher over the "
                "steps of training."),
        _figure(pictures.figure(pictures.draw_losses(evaluations), height=3.8), "Losses, means between "
                "evaluations.")], class_="figures")]


def signal(contents):
    """The meta signal over time, where it was logged."""
    found = contents_.signal(contents.results)
    if not found:
        return None
    return [element("h2", "The meta signal"),
            _figure(pictures.figure(pictures.draw_signal(found), height=1.7 * len(found) + 0.4),
                    "The meta gradient beside the gradient of the teacher's own objective, over the teacher's "
                    "weights: how long it is, and whether they point the same way (cosine 1) or against each "
                    "other (-1).")]


def settings(contents):
    """The flags that were given."""
    from mpl_tf.config import FIELDS
    given = {name: value for name, value in contents.config.flags.to_dict().items()
             if value != FIELDS[name].default}
    return element("details", element("summary", "Settings of this run (flags that are not at their defaults)"),
                   table(["flag", "value"], [[f"--{name}", str(value)] for name, value in given.items()]))
