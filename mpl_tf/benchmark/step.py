"""Measures what a training step costs, in wall time, CPU time and memory.

Each row is a real `train_step`. Its ratio is that to its unavoidable passes, which are measured
beside it: plain forward and backward passes of the teacher on x_l and x_u and of the student on x_u
and x_l (or of the only network), and for UDA the forward pass on the weak view. UDA's rows make one
pass over both views, through both of which their gradient goes; those "apart" make two
(joint_views=False). Each round measures the row and then its passes, and the median of the rounds'
ratios is printed, so that it does not matter if the machine's speed drifts. For the memory see
peak_memory. "first s" are the CPU seconds of the first call, which traces and compiles the step, and
"nodes" the operations of its graph.
"""

import ctypes
import gc
import statistics
import time

import mpl_tf

RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4      # of both networks, which Nesterov's momentum trains

METHODS = ("supervised", "uda", "uda_apart", "mpl_nested_tape", "mpl_jvp", "mpl_uda_nested_tape",
           "mpl_uda_jvp", "mpl_uda_apart_nested_tape", "mpl_uda_apart_jvp")


def make_batch(batch_size, image_size, seed=0):
    """A training batch of noise, float32 on the device. Its values do not change the speed."""
    import tensorflow as tf
    draw = lambda number: tf.random.stateless_normal(
        [batch_size, image_size, image_size, 3], [seed, number])
    label = tf.random.stateless_uniform([batch_size], [seed, 9], maxval=10, dtype=tf.int32)
    return {"labeled": {"image": draw(0), "label": label},
            "unlabeled": {"image": draw(1), "augmented": draw(2)}}


def model_of(method, network, image_size, dropout=0.3, seeds=(0, 0)):
    """The compiled model of `method`; `seeds` are those of the initial weights of student and teacher."""
    import tensorflow as tf
    from mpl_tf import networks
    from mpl_tf.method import objectives
    build = lambda role, seed: networks.build(network, 10, (image_size, image_size, 3),
                                              dropout=dropout, role=role, seed=seed)
    sgd = lambda: tf.keras.optimizers.SGD(RATE, momentum=MOMENTUM, nesterov=True)
    objective = (objectives.UDA(joint_views="apart" not in method) if "uda" in method
                 else objectives.Supervised())
    student = build("student", seeds[0])
    if not method.startswith("mpl"):
        model = mpl_tf.Baseline(student, objective)
        model.compile(sgd(), weight_decay=WEIGHT_DECAY)
        return model
    model = mpl_tf.MetaPseudoLabels(
        student, build("teacher", seeds[1]), objective,
        meta_gradient="jvp" if method.endswith("jvp") else "nested_tape")
    model.compile(sgd(), sgd(), student_weight_decay=WEIGHT_DECAY, teacher_weight_decay=WEIGHT_DECAY)
    return model


def step_of(method, network, image_size):
    """A function batch -> logs: the real train_step of `method`, as a tf.function."""
    import tensorflow as tf
    return tf.function(model_of(method, network, image_size).train_step)


def unavoidable_passes_of(method, network, image_size):
    """A function batch -> gradients: the passes that `method` cannot do without."""
    import tensorflow as tf
    from mpl_tf import networks
    from mpl_tf.method import targets
    build = lambda role: networks.build(network, 10, (image_size, image_size, 3), role=role)
    teacher, student = build("teacher"), build("student")

    def both_ways(model, images, labels):
        with tf.GradientTape() as tape:
            logits = targets.full_precision(model(images, training=True))
            loss = targets.cross_entropy(targets.one_hot(labels, 10), logits)
        return tape.gradient(loss, model.trainable_variables)

    @tf.function
    def run(batch):
        labeled, unlabeled = batch["labeled"], batch["unlabeled"]
        images, label = labeled["image"], labeled["label"]
        passes = [both_ways(teacher, images, label)]
        if method != "supervised":
            passes.append(both_ways(teacher, unlabeled["augmented"], label))
        if "uda" in method:
            passes.append(teacher(unlabeled["image"], training=True))
        if method.startswith("mpl"):
            passes.append(both_ways(student, unlabeled["augmented"], label))
            passes.append(both_ways(student, images, label))
        return passes

    return run


def peak_memory(call):
    """How many MiB `call` adds, at its highest, to what was allocated before; None if not known.

    TensorFlow's own count is used if its allocator keeps one, as on a GPU, and on a CPU if oneDNN
    gives it a pool. Otherwise it is the process's resident memory, which does not tell what a pool
    holds.
    """
    import tensorflow as tf
    gc.collect()
    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    try:
        tf.config.experimental.reset_memory_stats(device)
        before = tf.config.experimental.get_memory_info(device)["current"]
    except ValueError:
        return _peak_resident(call)
    call()
    return (tf.config.experimental.get_memory_info(device)["peak"] - before) / 2 ** 20


def _peak_resident(call):
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")     # Linux: forget the peak so far
        before = _status("VmRSS")
        call()
        return (_status("VmHWM") - before) / 1024
    except (OSError, AttributeError):
        return None


def _status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def timed(call):
    """(wall seconds, CPU seconds) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def block(nest):
    """Waits until all tensors of a nest are computed."""
    import tensorflow as tf
    for value in tf.nest.flatten(nest):
        value.numpy()


def measure_steps(chosen):
    """Prints the table of `--what=step`; returns its rows as dicts."""
    import tensorflow as tf
    batch = make_batch(chosen.batch_size, chosen.image_size)
    print(f"{chosen.network}, {chosen.image_size} px, batch {chosen.batch_size} + "
          f"{chosen.batch_size}, {chosen.rounds} rounds, TensorFlow {tf.__version__}, "
          f"{len(tf.config.list_physical_devices('GPU'))} GPU")
    print(f"{'precision':15}{'step':27}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}"
          f"{'wall ratio':>12}{'CPU ratio':>11}{'memory ratio':>14}{'first s':>9}{'nodes':>8}")
    rows = []
    precisions = (["float32", "mixed_bfloat16"] if chosen.precision == "both"
                  else [chosen.precision])
    for precision in precisions:
        tf.keras.mixed_precision.set_global_policy(precision)
        for method in METHODS:
            functions = [make(method, chosen.network, chosen.image_size)
                         for make in (step_of, unavoidable_passes_of)]
            calls = [lambda f=f: block(f(batch)) for f in functions]
            first, _ = [timed(call) for call in calls]      # traces
            nodes = len(functions[0].get_concrete_function(batch).graph.get_operations())
            rounds = [[timed(call) for call in calls] for _ in range(chosen.rounds)]
            memory = [peak_memory(call) for call in calls]
            middle = lambda values: statistics.median(list(values))
            row = {"precision": precision, "step": method,
                   "wall_seconds": middle(step[0] for step, _ in rounds),
                   "cpu_seconds": middle(step[1] for step, _ in rounds),
                   "peak_mib": memory[0],
                   "wall_ratio": middle(step[0] / floor[0] for step, floor in rounds),
                   "cpu_ratio": middle(step[1] / floor[1] for step, floor in rounds),
                   "memory_ratio": memory[0] / memory[1] if all(memory) else None,
                   "first_cpu_seconds": first[1], "nodes": nodes}
            rows.append(row)
            print("{precision:15}{step:27}{wall_seconds:9.3f}{cpu_seconds:9.3f}".format(**row)
                  + (f"{row['peak_mib']:10.0f}" if row["peak_mib"] else f"{'-':>10}")
                  + "{wall_ratio:12.2f}{cpu_ratio:11.2f}".format(**row)
                  + (f"{row['memory_ratio']:14.2f}" if row["memory_ratio"] else f"{'-':>14}")
                  + "{first_cpu_seconds:9.1f}{nodes:8d}".format(**row),
                  flush=True)
            tf.keras.backend.clear_session()
    tf.keras.mixed_precision.set_global_policy(None)
    return rows
