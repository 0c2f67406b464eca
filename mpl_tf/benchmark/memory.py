"""Measures the peak memory of a step of NoisyStudent, ReducedMPL and full MPL (Section 3.2).

All three train the same student, by Tan & Le's RMSprop. ReducedMPL's teacher is the small
perceptron; full MPL's is a second network like the student. It prints what a step adds, at its
highest, to what is in memory between steps (weights, slots, the batch). That is activations and
gradients.
"""

import gc
import statistics

import mpl_tf


def model_of(method, network, image_size):
    """A compiled model of `method`: noisy_student, reduced_mpl, reduced_mpl_jvp, mpl or mpl_jvp."""
    import tensorflow as tf
    from mpl_tf import networks
    from mpl_tf.method import objectives
    build = lambda role: networks.build(network, 10, (image_size, image_size, 3), role=role)
    rmsprop = lambda: tf.keras.optimizers.RMSprop(0.01, rho=0.9, momentum=0.9, epsilon=1e-3)
    if method == "noisy_student":
        model = mpl_tf.StoredTargets(build("student"))
        model.compile(rmsprop(), weight_decay=1e-5)
        return model
    reduced = method.startswith("reduced_mpl")
    teacher = networks.calibration(10, name="teacher") if reduced else build("teacher")
    model = mpl_tf.MetaPseudoLabels(
        build("student"), teacher, objectives.Supervised(),
        meta_gradient="jvp" if method.endswith("jvp") else "nested_tape",
        teacher_input="teacher_probs" if reduced else "image")
    model.compile(rmsprop(), tf.keras.optimizers.Adam(1e-4) if reduced else rmsprop(),
                  student_weight_decay=1e-5, teacher_weight_decay=1e-4)
    return model


def measure_memory(chosen):
    """Prints the table of `--what=memory`; returns its rows as dicts."""
    import tensorflow as tf
    from mpl_tf.benchmark import step
    batch = step.make_batch(chosen.batch_size, chosen.image_size)
    probs = tf.nn.softmax(tf.random.stateless_normal([chosen.batch_size, 10], [0, 3]))
    for part in batch.values():
        part["teacher_probs"] = probs
    print(f"{chosen.network}, {chosen.image_size} px, batch {chosen.batch_size} + "
          f"{chosen.batch_size}, median of {chosen.rounds} steps, TensorFlow {tf.__version__}\n"
          f"{'step':16}{'weights':>12}{'peak MiB':>10}{'of NoisyStudent':>17}", flush=True)
    rows = []
    for method in ("noisy_student", "reduced_mpl", "reduced_mpl_jvp", "mpl", "mpl_jvp"):
        model = model_of(method, chosen.network, chosen.image_size)
        train_step = tf.function(model.train_step, autograph=False)
        call = lambda: step.block(train_step(batch))
        call()      # traces
        peaks = [step.peak_memory(call) for _ in range(chosen.rounds)]
        weights = sum(network.count_params() for network in model.networks.values())
        rows.append({"step": method, "weights": weights,
                     "peak_mib": None if None in peaks else statistics.median(peaks)})
        peak, first = rows[-1]["peak_mib"], rows[0]["peak_mib"]
        print(f"{method:16}{weights:12,}" + (f"{peak:10.0f}{peak / first:17.2f}" if peak and first
                                             else f"{'-':>10}{'-':>17}"), flush=True)
        del model, train_step, call
        tf.keras.backend.clear_session()
        gc.collect()
    return rows
