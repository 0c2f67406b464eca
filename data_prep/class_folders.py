"""Reads a folder of class folders: compares their names, and finds what lies in none of them."""

import difflib
import os
import unicodedata

from data_prep import sources
from mpl_tf.common.command import counted
from mpl_tf.shards.listing import Listing, list_images

SHOWN = 5       # of class folders without images, how many an error names


def composed(name):
    """`name` with its accents composed: systems write one name of a file in different bytes."""
    return unicodedata.normalize("NFC", name)


def loose(name):
    """What is left of a name without case, spaces, hyphens and underscores."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in plain
                   if not character.isspace() and character not in "-_")


def names(folder):
    """Lists the class folders in `folder`: (sorted names, lines about names that look alike).

    Raises:
      ValueError: in one line: two names differ only in how their accents are written.
    """
    found = sources.list_folders(folder)
    lines, by_loose, by_composed = [], {}, {}
    for name in found:
        twin = by_composed.setdefault(composed(name), name)
        if twin != name:
            raise ValueError(f"{os.path.join(folder, name)}: there are two folders of this name, "
                             "whose accents are written in different bytes: put the images of one "
                             "class into one folder")
        other = by_loose.setdefault(loose(name), name)
        if other != name:
            lines.append(f"{folder} has the classes {other!r} and {name!r}, whose names differ "
                         "only in case or spaces: put their images into one folder if one class "
                         "is meant")
    return found, lines


def labels(folder, present, class_names, train="labeled", kind="class"):
    """Returns {name: label} for the folders `present` in `folder`.

    Args:
      class_names: the classes, in the order of their labels.
      train: the name of the folder that they are of. kind: what one is called.

    Raises:
      ValueError: in one line: a folder is of no class.
    """
    known = {composed(name): label for label, name in enumerate(class_names)}
    for name in present:
        if composed(name) not in known:
            alike = like(name, class_names)
            meant = (f"is {alike!r} meant instead of {name!r}? Then rename it" if alike else
                     "correct its name, or take it out")
            raise ValueError(f"{os.path.join(folder, name)}: there is no such {kind} in {train}/; "
                             f"{meant}")
    return {name: known[composed(name)] for name in present}


def like(name, others):
    """The most similar of `others` to `name`, or None."""
    by_loose = {loose(other): other for other in others}
    close = difflib.get_close_matches(loose(name), by_loose, n=1, cutoff=0.75)
    return by_loose[close[0]] if close else None


def outside(source_dir, folder, instead=", or into unlabeled/"):
    """(Listing, lines) of what lies directly in source_dir/folder, in no class folder."""
    found = list_images(os.path.join(source_dir, folder), deep=False)
    lines = []
    if found.names:
        lines.append(counted(len(found.names), "image lies", "images lie")
                     + f" directly in {folder}/, such as {folder}/{found.names[0]}, and "
                     + f"{'is' if len(found.names) == 1 else 'are'} left out: put each into the folder of "
                     f"its class{instead}")
        found.names = []
    return found, lines


def items(source_dir, folder, labels_of, empty="put some there, or remove it"):
    """Lists the images of class folders, at any depth.

    Args:
      source_dir, folder: the class folders lie in source_dir/folder.
      labels_of: {name of a class folder: label}. empty: what to do about one without images.

    Returns:
      ([(relative path, label)], Listing, lines): the Listing has what was left out.

    Raises:
      ValueError: in one line: class folders have no images.
    """
    found, left_out, deep, without = [], Listing(), [], []
    for name, label in labels_of.items():
        listing = list_images(os.path.join(source_dir, folder, name))
        if not listing.names:
            without.append((os.path.join(source_dir, folder, name), "; ".join(listing.left_out())))
        paths = [f"{folder}/{name}/{path}" for path in listing.names]
        deep += [path for path in paths if path.count("/") > 2]
        found += [(path, label) for path in paths]
        listing.names = []
        left_out.add(listing, f"{folder}/{name}/")
    if without:
        said = [f"{path} has no images{f' ({why})' if why else ''}" for path, why in without]
        more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        raise ValueError(f"{'; '.join(said[:SHOWN])}{more}: {empty}")
    lines = [counted(len(deep), "image lies", "images lie")
             + f" deeper than in a class folder, such as {deep[0]}: its class is the uppermost folder, "
             f"here {deep[0].split('/')[1]!r}"] if deep else []
    return found, left_out, lines
