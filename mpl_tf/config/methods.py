"""What methods there are to choose from, and what each needs. No TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Method:
    """The facts of a method.

    Attributes:
      about: a few words for --help.
      teacher: "trained" beside the student, "fixed" (a network that was trained before), or ""
        where there is none.
      objective: whether the flags of an objective matter.
      unlabeled: whether it learns from unlabeled batches whatever the objective.
      stored_probs: whether it learns from a large network's stored predictions.
      temperature: whether --temperature matters.
      hard: whether pseudo labels are the likeliest class alone.
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
    "distillation": Method("the same at a --temperature (Hinton et al., 2015)", teacher="fixed",
                           temperature=True),
    "reduced_mpl": Method("a student of --predictions_dir, calibrated by a small teacher",
                          teacher="trained", objective=True, stored_probs=True),
    "noisy_student": Method("a student of --predictions_dir as they are", stored_probs=True),
}
