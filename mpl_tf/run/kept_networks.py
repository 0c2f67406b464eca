"""The networks that a run keeps, because their names do not tell all of them.

    networks/student.keras, networks/teacher.keras
                        as they were built, with their initial weights
    networks/networks.json
                        {role: {"network": its name, "source": of the function that built it}}

A network of a user's own depends on his function, and one of keras.applications on Keras's version
and on the weights that it started from. A run trains what it reads back from these files, so that
later processes have the same: those that resume, evaluate and serve it. They may hold code of the
user's, as Lambda layers do, and are loaded as a program is.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import tensorflow as tf

from mpl_tf import networks
from mpl_tf.common import plain_path, storage
from mpl_tf.networks import imported, weight_files
from mpl_tf.run import run_folder

_REMEDY = "give back the file that the run wrote, or choose another --model_dir"


def roles_of(config: Any) -> Dict[str, str]:
    """{role: name} of those networks of a Config's run that it keeps."""
    roles = {"student": config.student_network}
    if config.has_teacher:
        roles["teacher"] = config.teacher_network
    return {role: name for role, name in roles.items() if networks.find(name)[0].kept}


def check(config: Any, continues: bool) -> None:
    """Checks before any long work that the networks of a Config can be had.

    Functions are imported. Where a run is continued, they are compared with those that built its
    networks; where it begins, weights that Keras downloads have to be in reach.

    Raises:
      ValueError: in one line, which begins with the flag.
    """
    noted = _noted(config.model_dir) if continues else {}
    for role, name in roles_of(config).items():
        found, arguments = networks.find(name)
        if found.function is not imported.imported:
            if getattr(config, f"{role}_weights") == weight_files.IMAGENET and role not in noted:
                with flagged(role, name):
                    weight_files.require_download(arguments[0])
            continue
        with flagged(role, name):
            source = imported.source_of(*arguments)
        before = noted.get(role, {}).get("source", source)
        if before != source:
            raise ValueError(f"--{role}_network={name} has changed since the run in {config.model_dir} "
                             f"began: {_change(before, source)}; undo that to continue the run, or "
                             "choose another --model_dir to begin one with the function as it is")


@contextlib.contextmanager
def flagged(role: str, name: str) -> Iterator[None]:
    """Context manager: the ValueError of a network or of its weights begins with its flag."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        begin = f"--{role}_" if text.startswith("weights=") else f"--{role}_network="
        between = "" if text.startswith(("weights=", name)) else f"{name}: "
        raise ValueError(f"{begin}{between}{text}") from error


def _change(before, after):
    """The first line in which two sources differ, in words."""
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines())
             if line.startswith(("- ", "+ "))]
    was = next((line[2:].strip()[:80] for line in lines if line.startswith("- ")), None)
    now = next((line[2:].strip()[:80] for line in lines if line.startswith("+ ")), None)
    return f"it had {was!r}" * (was is not None) + (
        " and " * (None not in (was, now))) + f"it has {now!r}" * (now is not None)


def network(config: Any, role: str, build: Callable[[], tf.keras.Model],
            writer: bool = True) -> tf.keras.Model:
    """The network of `role`: what the run has kept, or what `build` makes, which it then keeps.

    Args:
      config: the run's Config.
      build: a function without arguments, which raises ValueError where it cannot.
      writer: whether this process writes to the run's folder.

    Raises:
      ValueError: in one line, for a network that no file can hold, or a file that cannot be read.
    """
    name = getattr(config, f"{role}_network")
    if not networks.find(name)[0].kept:
        return build()
    folder = os.path.join(plain_path.plain(config.model_dir), run_folder.NETWORKS) if (
        os.path.isfile(os.path.join(config.model_dir, run_folder.CONFIG))) else ""  # no run, no folder
    if folder and role in _noted(config.model_dir) and run_folder.has_checkpoint(config.model_dir):
        return load(config.model_dir, role, name)
    if folder and writer:
        os.makedirs(folder, exist_ok=True)
        built = build()
        with storage.partial(os.path.join(folder, f"{role}.keras")) as temporary:
            _save(built, temporary, role, name)
        source = imported.source_of(*networks.find(name)[1]) if (
            networks.find(name)[0].function is imported.imported) else ""
        storage.write_json(os.path.join(folder, "networks.json"), {
            **_noted(config.model_dir), role: {"network": name, "source": source}})
        return load(config.model_dir, role, name)
    with tempfile.TemporaryDirectory(prefix="mpl_tf-network-") as temporary:
        path = os.path.join(temporary, f"{role}.keras")
        _save(build(), path, role, name)
        return _loaded(path, name)


def load(model_dir: str, role: str, name: str) -> tf.keras.Model:
    """Loads the network of `role`, called `name`, that the run in `model_dir` has kept.

    Raises:
      ValueError: in one line, where it cannot be read.
    """
    path = os.path.join(model_dir, run_folder.NETWORKS, f"{role}.keras")
    if not os.path.isfile(path):
        raise ValueError(f"{path}: there is no such file, which holds the network {name}: {_REMEDY}")
    return _loaded(path, name)


def _loaded(path, name):
    found, arguments = networks.find(name)
    if found.function is imported.imported:     # its module may define layers of its own
        try:
            imported.find_function(*arguments)
        except ValueError:
            pass        # what Keras has is enough for most networks
    try:
        return tf.keras.models.load_model(plain_path.plain(path), compile=False, safe_mode=False)
    except MemoryError:
        raise
    except Exception as error:  # Keras and the user's classes raise what they like
        raise ValueError(f"{path}, which holds the network {name}, cannot be read "
                         f"({imported.reason(error)}): "
                         "layers of your own need a get_config, and their module on the path; "
                         f"otherwise {_REMEDY}") from error


def _save(model, path, role, name):
    try:
        model.save(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"--{role}_network={name} cannot be saved as a .keras file "
                         f"({imported.reason(error)}):"
                         " a run has to keep its network; give its layers a get_config") from error


def _noted(model_dir) -> Mapping[str, Dict[str, Optional[str]]]:
    return storage.read_json(os.path.join(model_dir, run_folder.NETWORKS, "networks.json"), _REMEDY,
                             {...: {"network": str, "source": str}}) or {}
