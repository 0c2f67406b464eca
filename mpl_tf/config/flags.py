"""Every flag of this package: its type, default, help and impossible values. No TensorFlow.

To add a flag, add a field to Flags; contradictions and unused flags stand in config_checks.py.
"""

import dataclasses

DATASET_DEFAULTS = {
    "digits": dict(labeled_examples=50, labeled_selection="random", objective="uda",
                   student_network="small_conv"),
    "two_moons": dict(labeled_examples=6, labeled_selection="random", objective="supervised",
                      student_network="rbf"),
    "cifar10": dict(labeled_examples=4000, labeled_selection="first", objective="uda",
                    student_network="wrn-28-2"),
    "svhn": dict(labeled_examples=1000, labeled_selection="first", objective="uda",
                 student_network="wrn-28-2"),
    "imagenet": dict(labeled_examples=0, labeled_selection="first", objective="uda",
                     student_network="resnet-50"),
    "image_folder": dict(labeled_examples=0, labeled_selection="random", objective="uda",
                         student_network="wrn-28-2"),
}
FIXED_TEACHER = ("hard_pseudo_labels", "soft_pseudo_labels", "distillation")
_OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam")


def _flag(default, text, heading=None, **limits):
    """A field of Flags. `limits`: choices, above, at_least, below, at_most; `derived`: what an
    empty or zero value stands for; `heading` starts a group of --help."""
    return dataclasses.field(
        default=default, metadata={"help": text, "heading": heading, **limits})


def _by_dataset(name):
    return ", ".join(f"{dataset} {own[name] or 'all'}" for dataset, own in DATASET_DEFAULTS.items())


@dataclasses.dataclass(frozen=True)
class Flags:
    """The fields of config.Config, which checks them."""

    model_dir: str = _flag("", "folder of checkpoints, logs and results", "Run")
    seed: int = _flag(0, "of weights, batches, views and dropout", at_least=0, at_most=2**31 - 1)
    train_steps: int = _flag(1500, "student's updates; more of them continue a finished run",
                             at_least=1)
    eval_steps: int = _flag(0, "steps from one evaluation to the next", at_least=0,
                            derived="train_steps/20")
    median_evaluations: int = _flag(5, "median_last_evaluations is over this many", at_least=1)
    checkpoint_steps: int = _flag(0, "steps from one checkpoint to the next", at_least=0,
                                  derived="train_steps/20, at most 1000")
    keep_checkpoints: int = _flag(2, "checkpoints kept", at_least=1)
    summary_steps: int = _flag(0, "steps from one costly summary (montage, cosine) to the next",
                               at_least=0, derived="train_steps/20, at most 1000")
    plots: bool = _flag(True, "write figures (PNG) to model_dir where the dataset has them")

    method: str = _flag("mpl", "teacher and student (mpl), one network on --objective (baseline), "
                        "a student of --fixed_teacher, or one of the stored predictions in "
                        "--predictions_dir, calibrated by a small teacher (reduced_mpl) or as they "
                        "are (noisy_student)", "Method",
                        choices=("mpl", "baseline", *FIXED_TEACHER, "reduced_mpl",
                                 "noisy_student"))
    objective: str = _flag("", "what the teacher, or a baseline, minimises",
                           choices=("supervised", "randaugment", "uda"),
                           derived="supervised of reduced_mpl, else "
                           + _by_dataset("objective"))
    supervised_weight: float = _flag(1.0, "of the objective's labeled term", at_least=0)
    label_smoothing: float = _flag(0.0, "of the objective's labels; 0: none", at_least=0, below=1)
    uda_weight: float = _flag(1.0, "UDA factor, of the consistency term", at_least=0)
    uda_temperature: float = _flag(0.8, "of the consistency term's targets", above=0)
    meta_weight: float = _flag(1.0, "of the meta gradient; 0: control at equal compute", at_least=0)
    meta_gradient: str = _flag("nested_tape", "the same gradient either way; jvp takes less memory",
                               choices=("nested_tape", "jvp"))
    fixed_teacher: str = _flag("", "a finished run's model_dir or a .keras file")
    temperature: float = _flag(1.0, "of a fixed teacher's soft targets", above=0)

    dataset: str = _flag("digits", "what to learn", "Data", choices=tuple(DATASET_DEFAULTS))
    data_dir: str = _flag("", "where the files are, or a folder that data_prep wrote; CIFAR-10 and "
                          "SVHN are downloaded where they are missing",
                          derived="TensorFlow Datasets' own folder")
    unlabeled_dir: str = _flag("", "folder of shards whose images are the unlabeled ones, in place "
                               "of the data set's own")
    predictions_dir: str = _flag("", "folder that data_prep.predict wrote, of the labeled and the "
                                 "unlabeled images")
    selection: str = _flag("", "folder that data_prep.select wrote: only its images are unlabeled "
                           "ones")
    extra_unlabeled: bool = _flag(False, "add svhn's 531,131 extra images to the unlabeled ones")
    image_size: int = _flag(0, "side in pixels that the networks see, imagenet and image_folder",
                            at_least=0, derived="imagenet 224, image_folder 64")
    labeled_shards: int = _flag(0, "of imagenet, the first of them; 102 of 1,024 are 10 %",
                                at_least=0, derived="all but those held out")
    holdout_shards: int = _flag(0, "of imagenet, the last of them, held out; 40 in the paper",
                                at_least=0)
    skip_corrupt: bool = _flag(False, "leave out, and tell, records that cannot be used")
    labeled_examples: int = _flag(0, "training examples that keep their label, holdout included",
                                  at_least=0, derived=_by_dataset("labeled_examples"))
    labeled_selection: str = _flag("", "the first in the official order, or drawn by split_seed",
                                   choices=("first", "random"),
                                   derived=_by_dataset("labeled_selection"))
    split_seed: int = _flag(0, "of the labeled subset, and of the points of two_moons", at_least=0,
                            at_most=2**31 - 1)
    holdout: int = _flag(0, "labeled examples set aside for choosing settings", at_least=0)
    noise: float = _flag(0.05, "standard deviation, two_moons only", at_least=0)
    batch_size: int = _flag(64, "labeled examples a step, over all replicas", at_least=1)
    unlabeled_batch_size: int = _flag(0, "unlabeled examples a step, over all replicas", at_least=0,
                                      derived="batch_size")
    eval_batch_size: int = _flag(500, "examples at a time in evaluations", at_least=1)
    randaugment_layers: int = _flag(2, "operations per image of the strong view", at_least=0)
    randaugment_magnitude: float = _flag(5.0, "of the operations", at_least=0, at_most=10)
    randaugment_operations: str = _flag(
        "published", "RandAugment's own and its ranges, or those of the released code of Meta "
        "Pseudo Labels", choices=("published", "released"))
    color: str = _flag("none", "distort the colours of weak views as Inception's training did",
                       choices=("none", "inception"))
    cutout: int = _flag(0, "side of the strong view's cut square in pixels; 0: none", at_least=0)

    student_network: str = _flag(
        "", "wrn-DEPTH-WIDTH, resnet-50, efficientnet-b0 to -b7, small_conv, mlp-SIZE-SIZE... or "
        "rbf; a baseline's too, and so all student_ flags", "Networks and optimizers",
        derived=_by_dataset("student_network"))
    student_weights: str = _flag("", "file of the efficientnet package's weights without top to "
                                 "start from (..._notop.h5)")
    student_dropout: float = _flag(0.0, "rate at the prediction; Tan & Le: 0.2 for B0 and B1, 0.1 "
                                   "more every second size, 0.5 for B7", at_least=0, below=1)
    drop_connect: float = _flag(0.2, "highest rate of EfficientNets' stochastic depth", at_least=0,
                                below=1)
    student_optimizer: str = _flag("nesterov", "update rule", choices=_OPTIMIZERS)
    student_learning_rate: float = _flag(0.1, "highest of the schedule", above=0)
    student_weight_decay: float = _flag(0.0, "L in (L/2)|weights|^2", at_least=0)
    teacher_network: str = _flag("", "as for the student; of reduced_mpl calibration-SIZE or mlp-"
                                 "SIZE-SIZE...", derived="student_network, or calibration-128")
    teacher_dropout: float = _flag(0.0, "rate at the prediction", at_least=0, below=1)
    teacher_optimizer: str = _flag("nesterov", "update rule", choices=_OPTIMIZERS)
    teacher_learning_rate: float = _flag(0.1, "highest of the schedule", above=0)
    teacher_weight_decay: float = _flag(0.0, "L in (L/2)|weights|^2", at_least=0)
    momentum: float = _flag(0.9, "of momentum, nesterov and rmsprop", at_least=0, below=1)
    rmsprop_epsilon: float = _flag(1e-7, "of rmsprop; Tan & Le: 0.001", above=0)
    schedule: str = _flag("cosine", "of the learning rates; cosine decays to 0 at train_steps, "
                          "exponential by decay_rate every decay_steps",
                          choices=("cosine", "exponential", "constant"))
    teacher_schedule: str = _flag("", "of the teacher's", choices=("cosine", "exponential",
                                                                  "constant"),
                                  derived="schedule, or constant with reduced_mpl")
    warmup_steps: int = _flag(0, "of linear warm-up, cosine and exponential", at_least=0)
    decay_steps: int = _flag(0, "exponential: steps from one decay to the next", at_least=0,
                             derived="train_steps * 2.4 / 350, Tan & Le's epochs")
    decay_rate: float = _flag(0.97, "exponential: what one decay multiplies by", above=0,
                              at_most=1)
    ema_decay: float = _flag(0.0, "evaluate and export averages of the student's weights that keep "
                             "this much of themselves a step; Tan & Le: 0.9999; 0: none",
                             at_least=0, below=1)
    batch_norm_decay: float = _flag(0.99, "of batch norm's averages", at_least=0, below=1)

    strategy: str = _flag("default", "tf.distribute: one device, all GPUs, machines, or a TPU",
                          "Devices", choices=("default", "mirrored", "multi_worker", "tpu"))
    tpu: str = _flag("", "the TPU's name or address; local on a TPU VM")
    precision: str = _flag("float32", "of activations", choices=("float32", "mixed_bfloat16"))
    jit_compile: bool = _flag(False, "compile the step with XLA (one device)")
    steps_per_execution: int = _flag(1, "steps that run without returning to Python", at_least=1)
