"""Checkpoints: all that a run needs to continue as if it had never stopped.

A checkpoint holds the networks with batch norm's averages, the optimizers with iterations and
slots, what the signal's scale remembers, the step, the seed, and what the host keeps: evaluations
and times. The position in the data and every random number are functions of (seed, step), so they
need no place of their own.

TensorFlow writes a checkpoint under temporary names. When it is complete, TensorFlow names it in
the file `checkpoint`, which it replaces by renaming. If the process is killed before that, the
previous checkpoint is still the latest.
"""

import json
import math
import os
import shutil
import tempfile
import weakref

import tensorflow as tf

from mpl_tf.common import keras_seam, plain_path, storage
from mpl_tf.run import run_folder
from mpl_tf.run.restoring import restore

AVERAGE = "student_average"     # the name of the student's averaged weights in a checkpoint
END_OF_INDEX = bytes.fromhex("57fb808b247547db")    # the last bytes of a complete index


class Journal(tf.train.experimental.PythonState):
    """What the host keeps of a run. It is stored as JSON within the run's checkpoints.

    Attributes:
      evaluations: one dict for each evaluation, in order: "step", accuracies, and mean losses.
      by_class: each class's accuracies at the last evaluation, see evaluation.evaluate.
      diagnostics: one dict for each time that the teacher was diagnosed: "step" and what was measured.
      sums: {name: sum over the steps since the last evaluation} of the losses that training logs.
      summed_steps: the number of these steps.
      probes: what probes.Probes notes.
      wall_seconds: the time of the run so far, summed over all processes that continued it.
      timed_steps, timed_seconds: the steps that were timed, and their time. Evaluations and each
        process's first steps are not in it.
    """

    def __init__(self):
        self.evaluations, self.by_class, self.sums, self.summed_steps = [], {}, {}, 0
        self.diagnostics = []
        self.probes = {"steps": [], "entropy": [], "changed": [], "distributions": {}}
        self.wall_seconds = self.timed_seconds = 0.0
        self.timed_steps = 0

    def add(self, steps, losses):
        """Adds `steps` steps with the mean losses `losses`, {name: float}."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + steps * value
        self.summed_steps += steps

    def evaluated(self, step, figures, by_class):
        """Notes an evaluation: its figures, and the mean losses since the previous one."""
        means = {name: total / self.summed_steps for name, total in self.sums.items()}
        self.evaluations.append({"step": step, **figures, **means})
        self.by_class, self.sums, self.summed_steps = by_class, {}, 0

    def diagnosed(self, step, values):
        """Notes what was measured of the teacher, {name: float}, of which JSON holds finite numbers."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            self.diagnostics.append({"step": step, **finite})

    def serialize(self):
        """Returns all attributes as JSON."""
        return json.dumps({name: value for name, value in vars(self).items()
                           if not name.startswith("_")})

    def deserialize(self, text):
        """Sets the attributes from JSON."""
        for name, value in json.loads(text).items():
            setattr(self, name, value)


class Checkpoints:
    """The checkpoints of a model in training.

    Args:
      folder: the folder of the checkpoints.
      model: a compiled method.base.TrainingModel. The slots of its optimizers are built here, so
        that each restored value has its variable.
      seed: the run's seed. A checkpoint of another seed is refused.
      keep: how many checkpoints to keep.
      writer: False for a worker that only takes part in saving. What it has to write goes to the
        system's folder for temporary files, and is removed.
    """

    def __init__(self, folder, model, seed, keep=2, writer=True):
        self.journal, self._seed = Journal(), seed
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._stored_seed = tf.Variable(seed, dtype=tf.int64, trainable=False, name="seed")
        for role, optimizer in model.optimizers.items():
            keras_seam.build_optimizer(optimizer, model.networks[role].trainable_variables)
        self._networks = {**model.networks, **({} if model.average is None
                                               else {AVERAGE: model.average})}
        kept = {}
        if hasattr(model, "signal_statistics"):     # of meta_scale="measured"
            kept["signal_statistics"], = keras_seam.tf_variables([model.signal_statistics])
        self._checkpoint = tf.train.Checkpoint(
            **self._networks, **kept, step=self._step, seed=self._stored_seed, journal=self.journal,
            **{f"{role}_optimizer": optimizer for role, optimizer in model.optimizers.items()})
        self._folder, self._writer, self._at = folder, writer, None
        if writer:
            _tidy(folder)
        else:
            folder = tempfile.mkdtemp(prefix="mpl_tf-worker-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, plain_path.plain(folder), max_to_keep=keep)

    @property
    def step(self):
        """The step of the checkpoint that was saved or restored last, or None if none was."""
        return self._at

    def restore(self):
        """Restores the latest checkpoint, if there is one; returns the number of steps taken so far.

        Raises:
          ValueError: in one line, if the checkpoint cannot be read, does not fit the networks, or
            is of another seed.
        """
        path = latest(self._folder)
        if path is None:
            return 0
        restore(self._checkpoint, path)
        seed = int(self._stored_seed.numpy())
        if seed != self._seed:
            raise ValueError(f"checkpoint {path} has seed {seed}, this run {self._seed}: use the "
                             "checkpoint's seed, or another --model_dir")
        self._at = int(self._step.numpy())
        return self._at

    def save(self, step):
        """Saves the state after `step` steps, unless that is saved already.

        Raises:
          FloatingPointError: if a weight is not finite. Nothing is then written or removed.
        """
        if step == self._at:
            return
        check_finite(self._networks, step)
        self._step.assign(step)
        if self._writer:
            os.makedirs(self._folder, exist_ok=True)
            plain_path.plain(self._folder)      # the name that the manager knows is still there
        self._manager.save(checkpoint_number=step)
        self._at = step
        if not self._writer:
            shutil.rmtree(self._manager.directory, ignore_errors=True)


def check_finite(networks, step):
    """Raises FloatingPointError if a weight of `networks`, by role, is infinite or not a number."""
    for role, network in networks.items():
        for weight in keras_seam.tf_variables(network.weights):
            if not bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(weight)))):
                raise FloatingPointError(
                    f"{role}'s {weight.name} is not finite after step {step}: training stopped, "
                    "earlier checkpoints are kept; start anew with a lower learning rate")


def latest(folder):
    """The path of the newest complete checkpoint in `folder`, or None if there is none."""
    found = complete(folder)
    return found[-1] if found else None


def left(folder):
    """Says which checkpoint in `folder` a run that failed can continue from."""
    path = latest(folder)
    return f"the checkpoint {path} stays" if path else "there is no checkpoint yet"


def complete(folder):
    """The paths of the complete checkpoints in `folder`, the oldest first.

    These are the checkpoints that TensorFlow's file `checkpoint` names. If that file is missing or
    damaged, or names none that exists, these are the checkpoints with a complete index, because the
    index is written last.
    """
    found = [path[:-len(".index")] for path in run_folder.checkpoint_indices(folder)]
    return _listed(folder) or sorted(filter(_has_whole_index, found),
                                     key=lambda path: int(path.rsplit("-", 1)[1]))


def _has_whole_index(path):
    """Whether the index of the checkpoint `path` was written to its end.

    TensorFlow ends every complete index with the bytes END_OF_INDEX. An index without them is that
    of a process that was killed while it wrote it, and `_tidy` removes the checkpoint. An index that
    cannot be read counts as complete, and so does one that is damaged but has these bytes: the user
    is then told of the damage, and nothing is removed.
    """
    try:
        with open(path + ".index", "rb") as file:
            return file.read().endswith(END_OF_INDEX)
    except OSError:
        return True


def _listed(folder):
    try:
        state = tf.train.get_checkpoint_state(plain_path.plain(folder))
    except ValueError:      # the file is empty
        state = None
    # By name and in order: the file may have been copied from another run, or edited.
    named = {os.path.basename(path) for path in (state.all_model_checkpoint_paths if state else ())}
    found = [path[:-len(".index")] for path in run_folder.checkpoint_indices(folder)]
    return sorted((path for path in found if os.path.basename(path) in named),
                  key=lambda path: int(path.rsplit("-", 1)[1]))


def restore_networks(folder, networks, averaged=False):
    """Gives `networks`, by role, the weights of the latest checkpoint in `folder`.

    Args:
      averaged: whether the student gets the averages of its weights, which the run has kept.

    Returns:
      The number of steps after which the checkpoint was saved.

    Raises:
      ValueError: in one line, if there is no checkpoint, or it is damaged or of other networks.
    """
    path = latest(folder)
    if path is None:
        raise ValueError(f"{folder} has no checkpoint: expected a run that has saved one; run "
                         "`python -m mpl_tf.train` with this model_dir first")
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    named = {AVERAGE if averaged and role == "student" else role: network
             for role, network in networks.items()}
    restore(tf.train.Checkpoint(**named, step=step), path, whole=False)
    return int(step.numpy())


def _tidy(folder):
    """Removes what a killed process left unfinished, and mends the list of complete checkpoints."""
    found = complete(folder)
    named = [os.path.basename(path) for path in found]
    if not found and os.path.exists(os.path.join(folder, "checkpoint")):
        os.remove(os.path.join(folder, "checkpoint"))
    if found and not _listed(folder):
        with storage.partial(os.path.join(folder, "checkpoint")) as temporary, \
                open(temporary, "w", encoding="utf-8") as file:
            file.write(f'model_checkpoint_path: "{named[-1]}"\n')
            file.writelines(f'all_model_checkpoint_paths: "{name}"\n' for name in named)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        # TensorFlow was about to rename checkpoint.tmp*, and earlier versions' workers left theirs.
        if (name.startswith("ckpt-") and name.split(".")[0] not in named
                or name.startswith(("checkpoint.tmp", ".worker-"))):
            storage.remove(os.path.join(folder, name))
