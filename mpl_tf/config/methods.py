"""The methods that --method can choose, and what each needs; without TensorFlow."""

import dataclasses

STRATEGIES = ("default", "mirrored", "multi_worker", "tpu")      # of tf.distribute, see run/devices


@dataclasses.dataclass(frozen=True)
class Method:
    """The facts of a method.

    Attributes:
      about: a few words for --help.
      teacher: "trained" for a teacher that is trained beside the student, "fixed" for a network
        that was trained before, "" for none.
      objective: whether --objective and its flags have an effect.
      unlabeled: whether it takes unlabeled batches, whatever the objective needs.
      stored_probs: whether it learns from the stored predictions of a large network.
      temperature: whether --temperature has an effect.
      hard: whether the pseudo label is the likeliest class, not a distribution.
    """
    about: str
    teacher: str = ""
    objective: bool = False
    unlabeled: bool = True
    stored_probs: bool = False
    temperature: bool = False
    hard: bool = False


METHODS = {
    "mpl": Method("teacher and student (Meta Pseudo Labels)", teacher="trained", objective=True),
    "baseline": Method("one network on --objective", objective=True, unlabeled=False),
    "hard_pseudo_labels": Method("a student of the decisions of --fixed_teacher", teacher="fixed",
                                 hard=True),
    "soft_pseudo_labels": Method("a student of the distributions of --fixed_teacher",
                                 teacher="fixed", temperature=True),
    "distillation": Method("soft_pseudo_labels at a --temperature (Hinton et al., 2015)",
                           teacher="fixed", temperature=True),
    "reduced_mpl": Method("a student of --predictions_dir, calibrated by a small teacher",
                          teacher="trained", objective=True, stored_probs=True),
    "noisy_student": Method("a student of --predictions_dir, which stay as they are",
                            stored_probs=True),
}
