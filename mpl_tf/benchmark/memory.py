"""Measures the memory and the time of a step of exact MPL beside supervised training (Section 3.2).

Rows, each in a process of its own, all of one network, image size and batch:

    supervised          the network alone on the labeled batch: what any card has to hold
    noisy_student       the student alone on stored predictions for the unlabeled batch
    reduced_mpl         the student and the small perceptron, by the nested tape; _jvp by jvp
    mpl                 the student and a teacher like it, by the nested tape; _jvp by jvp
    mpl_jvp_slices      the same by jvp with microbatch_size

Networks are trained by Tan & Le's RMSprop, which has two slots, the perceptron by Adam. `peak MiB` is
what a step adds, at its highest, to what is in memory between steps (weights, slots, the batch): that
is activations, gradients and temporaries. Weights and slots are counted apart.
"""

import json
import statistics
import subprocess
import sys

import mpl_tf

ROWS = ("supervised", "noisy_student", "reduced_mpl", "reduced_mpl_jvp", "mpl", "mpl_jvp",
        "mpl_jvp_slices")
OBJECTIVES = {"supervised": lambda objectives: objectives.Supervised(),
              "uda": lambda objectives: objectives.UDA(),
              "uda_apart": lambda objectives: objectives.UDA(joint_views=False)}
_MIB = 2 ** 20


def slice_size(chosen):
    """The size of the slices: --microbatch_size, or a quarter of the batch."""
    return chosen.microbatch_size or max(1, chosen.batch_size // 4)


def model_of(row, chosen):
    """The compiled model of a row of ROWS."""
    import tensorflow as tf
    from mpl_tf import networks
    from mpl_tf.method import objectives
    shape = (chosen.image_size, chosen.image_size, 3)
    build = lambda role: networks.build(chosen.network, 10, shape, role=role)
    rmsprop = lambda: tf.keras.optimizers.RMSprop(0.01, rho=0.9, momentum=0.9, epsilon=1e-3)
    if row in ("supervised", "noisy_student"):
        model = (mpl_tf.StoredTargets(build("student")) if row == "noisy_student"
                 else mpl_tf.Baseline(build("student"), objectives.Supervised()))
        model.compile(rmsprop(), weight_decay=1e-5)
        return model
    reduced = row.startswith("reduced_mpl")
    teacher = networks.calibration(10, name="teacher") if reduced else build("teacher")
    model = mpl_tf.MetaPseudoLabels(
        build("student"), teacher, OBJECTIVES["supervised" if reduced else chosen.objective](objectives),
        meta_gradient="jvp" if "jvp" in row else "nested_tape",
        teacher_input="teacher_probs" if reduced else "image",
        microbatch_size=slice_size(chosen) if row.endswith("slices") else None)
    model.compile(rmsprop(), tf.keras.optimizers.Adam(1e-4) if reduced else rmsprop(),
                  student_weight_decay=1e-5, teacher_weight_decay=1e-4)
    return model


def measure_row(row, chosen):
    """Measures a row in this process.

    Returns:
      {"step": row, "weights": their number, "weights_mib", "slots_mib", "peak_mib": median of the
      steps, or None if it is not known, "wall_seconds", "cpu_seconds": of the fastest step}.
    """
    import tensorflow as tf
    from mpl_tf.benchmark import step
    batch = step.make_batch(chosen.batch_size, chosen.image_size)
    probs = tf.nn.softmax(tf.random.stateless_normal([chosen.batch_size, 10], [0, 3]))
    for part in batch.values():
        part["teacher_probs"] = probs
    model = model_of(row, chosen)
    train_step = tf.function(model.train_step, autograph=False)
    call, times = lambda: step.block(train_step(batch)), []
    call()      # traces
    peaks = [step.peak_memory(lambda: times.append(step.timed(call))) for _ in range(chosen.rounds)]
    size = lambda variables: sum(
        int(tf.size(each)) * tf.as_dtype(each.dtype).size for each in variables) / _MIB
    weights = [weight for network in model.networks.values() for weight in network.weights]
    slots = [each for optimizer in model.optimizers.values() for each in optimizer.variables]
    return {"step": row, "weights": sum(int(tf.size(weight)) for weight in weights),
            "weights_mib": size(weights), "slots_mib": size(slots),
            "peak_mib": None if None in peaks else statistics.median(peaks),
            "wall_seconds": min(wall for wall, _ in times), "cpu_seconds": min(cpu for _, cpu in times)}


def measure_memory(chosen):
    """Prints the table of `--what=memory`, or one row of it as JSON; returns its rows as dicts."""
    if chosen.row:
        rows = [measure_row(chosen.row, chosen)]
        print(json.dumps(rows[0]))
        return rows
    print(f"{chosen.network}, {chosen.image_size} px, batch {chosen.batch_size} + {chosen.batch_size}, "
          f"slices of {slice_size(chosen)}, objective {chosen.objective}, {chosen.rounds} steps a row\n"
          f"{'step':16}{'weights':>12}{'weights MiB':>13}{'slots MiB':>11}{'peak MiB':>10}"
          f"{'of supervised':>15}{'wall s':>9}{'CPU s':>9}", flush=True)
    rows = []
    for row in ROWS:
        found = _in_a_process(row, chosen)
        if found is None:
            print(f"{row:16}{'failed, for want of memory or as said above':>40}", flush=True)
            continue
        rows.append(found)
        peak, first = found["peak_mib"], rows[0]["peak_mib"]
        known = peak and first and rows[0]["step"] == ROWS[0]
        print("{step:16}{weights:12,}{weights_mib:13.1f}{slots_mib:11.1f}".format(**found)
              + (f"{peak:10.0f}" if peak else f"{'-':>10}")
              + (f"{peak / first:15.2f}" if known else f"{'-':>15}")
              + "{wall_seconds:9.3f}{cpu_seconds:9.3f}".format(**found), flush=True)
    return rows


def _in_a_process(row, chosen):
    """What measure_row finds in a new process, or None if that fails; it says itself why."""
    flags = [f"--{name}={getattr(chosen, name)}" for name in (
        "network", "image_size", "batch_size", "objective", "rounds")]
    done = subprocess.run(
        [sys.executable, "-m", "mpl_tf.benchmark", "--what=memory", f"--row={row}",
         f"--microbatch_size={slice_size(chosen)}", *flags], stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
