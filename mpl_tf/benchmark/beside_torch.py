"""Sets the exact step of Meta Pseudo Labels beside PyTorch's, in wall time and CPU time.

Both have the same network, weights, batch, threads and optimizers, on the CPU in float32, without
dropout. PyTorch's rows are eager, as torch.compile takes no second derivatives:

    ours, supervised        the network alone on the labeled batch
    ours, nested tape       the exact step; and by jvp
    PyTorch, supervised     as above
    PyTorch, create_graph   the same exact step, backward through the student's backward pass
    PyTorch, func.jvp       the same by forward mode, which keeps the teacher's activations

Before anything is timed, each way takes one step from the same weights, in float64. The gradients of both
networks, as the optimizers' momentum holds them, and the new weights have to be those of our nested tape
to a relative difference below TOLERANCE. The meta weight is then such that the meta gradient is as long
as the objective's: beside a longer one a wrong meta gradient would not be seen. In float32 an activation
here and there is on the other side of ReLU's corner; PyTorch's gradient then differs by 0.6% from its own
in float64 (WRN-28-2, 16 + 16 images), and nobody could tell that from a mistake.

The rows are measured in turns, and each ratio is the median of the rounds' ratios: to the supervised
step of the same framework, and of PyTorch's rows to ours above. PyTorch's threads wait for each other
actively: where other processes run too, --threads=1 tells more.
"""

import contextlib
import gc
import statistics

import numpy as np

from mpl_tf import networks
from mpl_tf.benchmark import step
from mpl_tf.common.cores import cores

TOLERANCE = 1e-3
OURS = {"ours, supervised": "supervised", "ours, nested tape": "mpl_nested_tape",
        "ours, jvp": "mpl_jvp"}
REFERENCE = "ours, nested tape"
THEIRS = {"PyTorch, supervised": "ours, supervised", "PyTorch, create_graph": REFERENCE,
          "PyTorch, func.jvp": "ours, jvp"}      # and what each is compared with
_WRN = "wrn-DEPTH-WIDTH"
_SEEDS = (1, 2)     # of the student's and the teacher's initial weights


def refusal(chosen):
    """One line that says what --what=torch cannot do of what was asked, or None."""
    if networks.find(chosen.network)[0] is not networks.NETWORKS[_WRN]:
        return (f"--network={chosen.network[:60]}: --what=torch has PyTorch's counterpart of {_WRN} "
                "only, such as wrn-28-2")
    if chosen.precision == "mixed_bfloat16":
        return f"--precision={chosen.precision}: --what=torch measures in float32; leave it out"
    if chosen.objective != "supervised":
        return f"--objective={chosen.objective}: --what=torch has the supervised objective; leave it out"
    return None


def pytorch():
    """The module of PyTorch's side.

    Raises:
      ValueError: in one line, if PyTorch is not installed, or cannot be imported.
    """
    try:
        from mpl_tf.benchmark import torch_step
    except (ImportError, OSError) as error:     # OSError: one of its libraries
        if getattr(error, "name", None) == "torch":
            raise ValueError("--what=torch sets our step beside PyTorch's, and PyTorch is not installed: "
                             "install it by pip install torch") from None
        raise ValueError(f"--what=torch: PyTorch cannot be imported ({error}): install it anew by "
                         "pip install --force-reinstall torch") from None
    return torch_step


def by_torchs_names(network, values=None):
    """{PyTorch's name of a weight: array in PyTorch's layout} of a Keras network of our layers.

    Args:
      values: a function variable -> array, called for trainable weights; None stands for all weights,
        averages included, and their own values.
    """
    leaves = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias",
              "moving_mean": "running_mean", "moving_variance": "running_var"}
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}
    found = {}
    for layer in network.layers:
        for variable in layer.weights if values is None else layer.trainable_weights:
            leaf = variable.name.split("/")[-1].split(":")[0]
            array = np.asarray(variable.numpy() if values is None else values(variable))
            found[f"{layer.name}.{leaves[leaf]}"] = np.ascontiguousarray(
                array.transpose(axes.get(array.ndim, (0,))))
    return found


class Ours:
    """The model of a row of OURS, and its step as a tf.function."""

    def __init__(self, row, chosen):
        import tensorflow as tf
        self.model = step.model_of(OURS[row], chosen.network, chosen.image_size, dropout=0.0,
                                   seeds=_SEEDS)
        self._train_step = tf.function(self.model.train_step)

    def __call__(self, batch):
        step.block(self._train_step(batch))

    def state(self):
        """{role: {"gradient", "new weights"}}, each a vector: what the first step did."""
        from mpl_tf.common import keras_seam
        found = {}
        for role, network in self.model.networks.items():
            optimizer = self.model.optimizers[role]
            slot = lambda variable: keras_seam.slots(optimizer, variable)["momentum"]
            found[role] = {
                "gradient": _vector(by_torchs_names(     # Keras's momentum is minus the rate times it
                    network, lambda variable: slot(variable).numpy() / -step.RATE)),
                "new weights": _vector(by_torchs_names(network, lambda variable: variable.numpy()))}
        return found


class Theirs:
    """PyTorch's networks for a row of THEIRS, with the weights of our `networks_`, and its step."""

    def __init__(self, row, chosen, networks_):
        from mpl_tf.networks import parts
        torch_step = pytorch()
        depth, width = networks.find(chosen.network)[1]
        self._learners = {}
        for role, network in networks_.items():
            theirs = torch_step.WideResNet(depth, width, 10, 0.99, parts.BATCH_NORM_EPSILON)
            learner = torch_step.Learner(theirs, by_torchs_names(network), step.RATE, step.MOMENTUM,
                                         step.WEIGHT_DECAY)
            count = lambda weights: sum(int(np.prod(weight.shape)) for weight in weights)
            mine = count(network.trainable_weights)
            assert mine == count(learner.weights.values()), (row, role, mine)
            self._learners[role] = learner
        self.both = torch_step.MetaPseudoLabels(self._learners["student"], self._learners["teacher"])
        self._step = {"PyTorch, supervised": self._learners["student"].learn,
                      "PyTorch, create_graph": self.both.by_create_graph,
                      "PyTorch, func.jvp": self.both.by_jvp}[row]

    def __call__(self, batch):
        self._step(batch)

    def state(self):
        """As that of Ours."""
        found = {}
        for role, learner in self._learners.items():
            weights, gradient = learner.arrays()
            found[role] = {"gradient": _vector(gradient), "new weights": _vector(weights)}
        return found


def _vector(arrays):
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def differences(rows, batches):
    """Takes the first step of each exact row; returns (the meta weight, {row: {what: difference}}).

    Args:
      rows: {row: Ours or Theirs}, new. batches: {row: its batch}.
    """
    exact = [row for row in rows if not row.endswith("supervised")]
    theirs = rows["PyTorch, create_graph"]
    meta_weight = theirs.both.balance(batches["PyTorch, create_graph"])
    states = {}
    for row in exact:
        _weigh(rows[row], meta_weight)
        rows[row](batches[row])
        _weigh(rows[row], 1.0)
        states[row] = rows[row].state()
    length = np.linalg.norm
    return meta_weight, {row: {
        f"{role}'s {what}": float(length(found - states[REFERENCE][role][what])
                                  / length(states[REFERENCE][role][what]))
        for role, held in sorted(states[row].items(), reverse=True) for what, found in held.items()}
        for row in exact if row != REFERENCE}


def _weigh(row, meta_weight):
    if isinstance(row, Ours):
        row.model.meta_weight.assign(meta_weight)
    else:
        row.both.meta_weight = meta_weight


def check(rows, batches):
    """Prints how far the ways are from our nested tape.

    Raises:
      FloatingPointError: in one line, where that is TOLERANCE or more.
    """
    meta_weight, found = differences(rows, batches)
    print(f"relative differences from {REFERENCE}, after a step in float64 with a meta weight of "
          f"{meta_weight:.4g}:")
    print(" " * 23 + "".join(f"{what:>23}" for what in next(iter(found.values()))))
    for row, of_row in found.items():
        print(f"{row:23}" + "".join(f"{value:23.1e}" for value in of_row.values()), flush=True)
    for row, of_row in found.items():
        for what, value in of_row.items():
            if not value < TOLERANCE:
                raise FloatingPointError(
                    f"{row}: the {what} differs from that of {REFERENCE} by {value:.1e} of its length, "
                    f"expected less than {TOLERANCE}; nothing was timed, as the two steps are not the "
                    "same: try other versions than those above, or report them")


@contextlib.contextmanager
def computing_in(dtype):
    """Within this context networks compute in `dtype`, "float32" or "float64"."""
    import tensorflow as tf
    before = tf.keras.backend.floatx(), tf.keras.mixed_precision.global_policy()
    tf.keras.backend.set_floatx(dtype)
    tf.keras.mixed_precision.set_global_policy(dtype)
    try:
        yield
    finally:
        tf.keras.backend.set_floatx(before[0])
        tf.keras.mixed_precision.set_global_policy(before[1])


def make_rows(chosen):
    """({row: Ours or Theirs}, {row: its batch}): the same weights and images in all.

    They are of the type of `computing_in`, and so are the first calls, which trace.
    """
    import tensorflow as tf
    batch = tf.nest.map_structure(
        lambda tensor: tf.cast(tensor, tf.keras.backend.floatx()) if tensor.dtype.is_floating else tensor,
        step.make_batch(chosen.batch_size, chosen.image_size))
    rows = {row: Ours(row, chosen) for row in OURS}
    of_torch = pytorch().batch_of(batch["labeled"]["image"].numpy(), batch["labeled"]["label"].numpy(),
                                  batch["unlabeled"]["augmented"].numpy())
    rows.update({row: Theirs(row, chosen, rows[REFERENCE].model.networks) for row in THEIRS})
    return rows, {row: batch if row in OURS else of_torch for row in rows}


def measure_beside_torch(chosen):
    """Prints the table of `--what=torch`; returns its rows as dicts."""
    torch_step = pytorch()      # before TensorFlow, which takes seconds
    import tensorflow as tf
    if chosen.threads:
        tf.config.threading.set_intra_op_parallelism_threads(chosen.threads)
        tf.config.threading.set_inter_op_parallelism_threads(chosen.threads)
    if tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    threads = chosen.threads or cores()     # which is TensorFlow's own default
    version = torch_step.set_threads(threads)
    print(f"{chosen.network}, {chosen.image_size} px, batch {chosen.batch_size} + {chosen.batch_size}, "
          f"{chosen.rounds} rounds, float32 on the CPU, TensorFlow {tf.__version__} and PyTorch {version} "
          f"with {threads} thread{'s' * (threads > 1)} each")
    with computing_in("float64"):
        check(*make_rows(chosen))
    tf.keras.backend.clear_session()
    with computing_in("float32"):
        return [_printed(row) for row in _table(_rounds(chosen, *make_rows(chosen)))]


def _rounds(chosen, rows, batches):
    """[{row: (wall seconds, CPU seconds)}], an element for each round."""
    calls = {row: lambda row=row: rows[row](batches[row]) for row in rows}
    for call in calls.values():
        call()      # traces, where that has not been done
    gc.collect()
    gc.disable()    # TensorFlow's graphs are searched for seconds, in whichever row's time that falls
    try:
        return [{row: step.timed(call) for row, call in calls.items()} for _ in range(chosen.rounds)]
    finally:
        gc.enable()


def _table(rounds):
    """A dict for each row, of the (wall seconds, CPU seconds) of every row in every round."""
    middle = lambda values: statistics.median(list(values))
    found = []
    for row in rounds[0]:
        own = "ours, supervised" if row in OURS else "PyTorch, supervised"
        made = {"step": row}
        for index, kind in enumerate(("wall", "cpu")):
            ratio = lambda other: middle(each[row][index] / each[other][index] for each in rounds)
            made[f"{kind}_seconds"] = middle(each[row][index] for each in rounds)
            made[f"{kind}_of_supervised"] = ratio(own)
            made[f"{kind}_of_ours"] = ratio(THEIRS[row]) if row in THEIRS else None
        found.append(made)
    return found


def _printed(row):
    if row["step"] == next(iter(OURS)):
        print(f"{'':23}{'':20}{'of own supervised':>20}{'of ours':>20}\n"
              f"{'step':23}" + f"{'wall s':>10}{'CPU s':>10}" + f"{'wall':>10}{'CPU':>10}" * 2)
    numbers = [f"{row[f'{kind}_{what}']:10.{digits}f}" if row[f"{kind}_{what}"] is not None else f"{'-':>10}"
               for what, digits in (("seconds", 3), ("of_supervised", 2), ("of_ours", 2))
               for kind in ("wall", "cpu")]
    print(f"{row['step']:23}" + "".join(numbers), flush=True)
    return row
