"""Checkpoints: all that a run needs to go on as if it had never stopped.

One file set holds networks (batch norm's averages too), optimizers (iterations and slots), step,
seed, and what the host keeps: evaluations and clocks. The position in the data and every random
number are functions of (seed, step), so restoring the step restores them.

TensorFlow writes a checkpoint under temporary names, and names it in the file `checkpoint`, by
renaming, when it is complete. A process killed on the way leaves the previous one in force.
"""

import glob
import json
import os
import shutil

import tensorflow as tf

from mpl_tf.common import keras_seam, storage
from mpl_tf.run import run_folder

AVERAGE = "student_average"     # the student's averaged weights, where they are kept
END_OF_INDEX = bytes.fromhex("57fb808b247547db")    # of every table that TensorFlow wrote to its end


class Journal(tf.train.experimental.PythonState):
    """What the host keeps of a run, stored as JSON within its checkpoints.

    Attributes:
      evaluations: one dict per evaluation, in order: "step", accuracies, losses.
      sums: {name: sum over the steps since the last evaluation} of what training logs.
      summed_steps: how many steps that are.
      probes: what probes.Probes notes.
      wall_seconds: of all processes that got the run here.
      timed_steps, timed_seconds: steps and their time, without evaluations and first steps.
    """

    def __init__(self):
        self.evaluations, self.sums, self.summed_steps = [], {}, 0
        self.probes = {"steps": [], "entropy": [], "changed": [], "distributions": {}}
        self.wall_seconds = self.timed_seconds = 0.0
        self.timed_steps = 0

    def add(self, steps, losses):
        """Counts an execution of `steps` steps with these mean losses, {name: float}."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + steps * value
        self.summed_steps += steps

    def evaluated(self, step, figures):
        """Notes an evaluation's figures, and the mean losses since the one before."""
        means = {name: total / self.summed_steps for name, total in self.sums.items()}
        self.evaluations.append({"step": step, **figures, **means})
        self.sums, self.summed_steps = {}, 0

    def serialize(self):
        """JSON of all attributes."""
        return json.dumps({name: value for name, value in vars(self).items()
                           if not name.startswith("_")})

    def deserialize(self, text):
        """Takes the attributes from JSON."""
        for name, value in json.loads(text).items():
            setattr(self, name, value)


class Checkpoints:
    """The checkpoints of a model in training.

    Args:
      folder: where they lie.
      model: with networks and optimizers by role, see training_model. Their slots are built here,
        so that a restored value finds its variable.
      seed: of the run; a checkpoint of another seed is refused.
      keep: how many to keep.
      writer: False for the workers that only take part in saving; their copies are removed.
    """

    def __init__(self, folder, model, seed, keep=2, writer=True):
        self.journal, self._seed = Journal(), seed
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._stored_seed = tf.Variable(seed, dtype=tf.int64, trainable=False, name="seed")
        for role, optimizer in model.optimizers.items():
            keras_seam.build_optimizer(optimizer, model.networks[role].trainable_variables)
        self._networks = {**model.networks, **({} if model.average is None
                                               else {AVERAGE: model.average})}
        self._checkpoint = tf.train.Checkpoint(
            **self._networks, step=self._step, seed=self._stored_seed, journal=self.journal,
            **{f"{role}_optimizer": optimizer for role, optimizer in model.optimizers.items()})
        self._folder, self._writer, self._at = folder, writer, None
        if writer:
            _tidy(folder)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, folder if writer else os.path.join(folder, f".worker-{os.getpid()}"),
            max_to_keep=keep)

    @property
    def step(self):
        """The step of the last checkpoint, saved or restored; None where there is none yet."""
        return self._at

    def restore(self):
        """Continues from the latest checkpoint, if there is one; returns the steps taken so far.

        Raises:
          ValueError: in one line, for one that cannot be read or does not fit the networks.
        """
        path = latest(self._folder)
        if path is None:
            return 0
        restore(self._checkpoint, path)
        seed = int(self._stored_seed.numpy())
        if seed != self._seed:
            raise ValueError(f"checkpoint {path} has seed {seed}, this run {self._seed}: use that "
                             "seed, or another --model_dir")
        self._at = int(self._step.numpy())
        return self._at

    def save(self, step):
        """Saves the state after `step` steps, unless it is saved already.

        Raises:
          FloatingPointError: weights are not finite; the checkpoints stay as they are.
        """
        if step == self._at:
            return
        check_finite(self._networks, step)
        self._step.assign(step)
        self._manager.save(checkpoint_number=step)
        self._at = step
        if not self._writer:
            shutil.rmtree(self._manager.directory, ignore_errors=True)


def check_finite(networks, step):
    """Raises FloatingPointError if a weight of `networks` is infinite or not a number."""
    for role, network in networks.items():
        for weight in network.weights:
            if not bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(weight)))):
                raise FloatingPointError(
                    f"{role}'s {weight.name} is not finite after step {step}: training stopped, "
                    "earlier checkpoints stay; start anew with a lower learning rate")


def latest(folder):
    """Path of the newest complete checkpoint in `folder`, or None."""
    found = complete(folder)
    return found[-1] if found else None


def complete(folder):
    """Paths of the complete checkpoints in `folder`, oldest first.

    They are those that TensorFlow's file `checkpoint` names. Where it is missing or damaged, or
    names none that is there, they are those that have a whole index, which is written last.
    """
    found = [path[:-len(".index")] for path in run_folder.checkpoint_indices(folder)]
    return _listed(folder) or sorted(filter(_has_whole_index, found),
                                     key=lambda path: int(path.rsplit("-", 1)[1]))


def _has_whole_index(path):
    """False where a killed process had begun its index: the last bytes of a table are always these.

    One that is damaged otherwise, or may not be read, is whole: it is to be told of, not removed.
    """
    try:
        with open(path + ".index", "rb") as file:
            return file.read().endswith(END_OF_INDEX)
    except OSError:
        return True


def _listed(folder):
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:      # an empty one
        state = None
    return [path for path in (state.all_model_checkpoint_paths if state else ())
            if os.path.exists(path + ".index")]


def restore_networks(folder, networks, averaged=False):
    """Gives `networks` (by role) the weights of the latest checkpoint in `folder`.

    Args:
      averaged: whether the student gets the averages of its weights that the run kept.

    Returns:
      The number of steps it was trained for.

    Raises:
      ValueError: in one line, where there is no checkpoint, or not of these networks.
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


def restore(checkpoint, path, whole=True):
    """Restores all of `checkpoint` from `path`; `whole`: and leaves nothing in the file unused.

    Raises:
      ValueError: in one line, where the file is damaged or of other networks or optimizers.
    """
    remedy = f"delete {path}.* to continue from the one before, or choose another --model_dir"
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)     # compares checksums
    except Exception as error:  # TensorFlow's errors, and Python's from its bindings
        raise ValueError(f"checkpoint {path} cannot be read ({_line(error)}): it is damaged; "
                         f"{remedy}") from error
    try:
        status = checkpoint.restore(path)
        status.assert_existing_objects_matched()
        status.assert_consumed() if whole else status.expect_partial()
    except (ValueError, AssertionError, TypeError, tf.errors.OpError) as error:
        raise ValueError(f"checkpoint {path} is of another architecture than the networks here "
                         f"({_line(error)}): use the flags it was trained with, or "
                         f"{remedy}") from error


def _line(error):
    return " ".join(str(error).split())[:160]


def _tidy(folder):
    """Removes what a killed process left unfinished, and lists the complete checkpoints again."""
    found = complete(folder)
    named = [os.path.basename(path) for path in found]
    if not found and os.path.exists(os.path.join(folder, "checkpoint")):
        os.remove(os.path.join(folder, "checkpoint"))
    if found and not _listed(folder):
        with storage.partial(os.path.join(folder, "checkpoint")) as temporary, \
                open(temporary, "w", encoding="utf-8") as file:
            file.write(f'model_checkpoint_path: "{named[-1]}"\n')
            file.writelines(f'all_model_checkpoint_paths: "{name}"\n' for name in named)
    for path in glob.glob(os.path.join(glob.escape(folder), "*")):
        name = os.path.basename(path)
        if name.startswith("ckpt-") and name.split(".")[0] not in named:
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        elif name.startswith("checkpoint.tmp"):     # of TensorFlow's atomic rename
            os.remove(path)
