"""Whether the data that there are now are those that a run has learned from, as its data.json says.

A run that is continued is looked at where it is trained. Here are those that are finished, of which
figures are shown, a report is made, or a network is evaluated.
"""

from __future__ import annotations

import os
from typing import Any

from mpl_tf import datasets
from mpl_tf.run import run_folder, wiring

_PLACES = ("data_dir", "unlabeled_dir", "predictions_dir", "selection", "fixed_teacher")


def look(config: Any) -> str:
    """Looks whether the data that a Config names are those of its run, which is finished.

    Nothing is downloaded and nothing written, and a run without a data.json is not looked at.

    Returns:
      Why the data could not be looked at, in one line, where they are not there any more; else "".

    Raises:
      run_folder.OtherData: they are others.
      ValueError, OSError: in one line, as for a run that is continued: they cannot be used.
    """
    if run_folder.noted_data(config.model_dir) is None:
        return ""
    unused = config.unused()
    for name in _PLACES:
        path = "" if name in unused else getattr(config, name)
        if path and not os.path.exists(path):
            return f"nothing is at --{name}={path}"
    try:
        dataset = wiring.load_dataset(config, download=False)
    except FileNotFoundError as error:
        return " ".join(str(error).split())
    found = {**datasets.describe(dataset), **wiring.describe_fixed_teacher(
        config, lambda: wiring.read_fixed_teacher(config, dataset.made))}
    changed = run_folder.data_changes(config.model_dir, found)
    if changed:
        raise run_folder.OtherData(config.model_dir, changed)
    return ""


def changes_of_loaded(config: Any, dataset: datasets.Dataset) -> dict[str, tuple[str, str]]:
    """run_folder.data_changes of a Dataset that was loaded without what only training needs."""
    found = datasets.describe(dataset)
    if config.selection:        # of which only the selected images are the run's
        del found["unlabeled"]
    changed = run_folder.data_changes(config.model_dir, found)
    return {name: values for name, values in changed.items() if name in found}
