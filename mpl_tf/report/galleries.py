"""The sections of a report that show images, each Markup of a run's Contents; at most 60 thumbnails in all."""

from __future__ import annotations

import numpy as np

from mpl_tf.common import spreadsheet
from mpl_tf.report import comparing, contents as contents_, pictures, sections, statistics
from mpl_tf.report.markup import download, element

NO_CLASS = ("Leave the class of an image that is of none of them empty: it stays unlabeled. If most are such, take "
            "them out of the unlabeled ones, or make a class for them.")
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
    return f"{names[best]} ({100 * distribution[best]:.0f}\N{NO-BREAK SPACE}%)"


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
    rights = {role: int(contents.predicted.right(role)[found].sum()) for role in sections.roles_of(contents)}
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
    what = comparing.examples(contents.config)
    return [element("h2", "What to label next"),
            element("p", f"The {len(rows)} {what} without a label of which the student is least sure, of "
                    f"{len(looked.positions)} that it looked at (there are {looked.total}, labeled ones among them): "
                    "a person's label helps most where it cannot decide. The table has an empty column for their classes: ",
                    download(text, "label_next.csv", "label_next.csv"), ". ", NO_CLASS), gallery]


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
