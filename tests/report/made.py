"""Made-up runs for the tests of reports: what they predicted, without training."""

import numpy as np

from mpl_tf.report import comparing, contents
from mpl_tf.run import predicted
from tests.runs import settings

HOSTILE = ["<script>alert(1)</script>", "$5_to_$20", "../up", "a\"b' onerror=x", "bad\udcff", "\u202eevil", "&lt;", "ok"]


def predictions(right, classes=3, step=6, seed=0, teacher=True):
    """Predicted, of a student that gets exactly `right`, bool [N], and perhaps a teacher."""
    right = np.asarray(right, bool)
    generator = np.random.default_rng(seed)
    labels = np.arange(len(right)) % classes

    def logits(right):
        found = generator.normal(size=[len(right), classes]).astype(np.float32)
        found[np.arange(len(right)), np.where(right, labels, (labels + 1) % classes)] += 9
        return found

    both = {"student": logits(right)}
    if teacher:
        both["teacher"] = logits(np.roll(right, 1))
    return predicted.Predicted(step, labels, np.array([b"%d" % i for i in range(len(right))]), both)


def run(right, name="run", seed=0, **changes):
    """A comparing.Run."""
    return comparing.Run(f"/runs/{name}{seed}", settings(f"/runs/{name}{seed}", seed=seed, **changes),
                         predictions(right))


def results(**changes):
    """What results.json holds."""
    entries = [{"step": step, "student_test_accuracy": 0.3 + step / 20, "teacher_test_accuracy": 0.5,
                "student_labeled_accuracy": 0.9, "student_loss": 1.0, "R": 0.5 / step} for step in (3, 6)]
    return {"train_steps": 6, "evaluations": entries, "flags": {"meta_weight": 1.0}, "diagnostics": [
        {"step": 2, "gradient_cosine": 0.25, "meta_gradient_norm_weights": 3.0,
         "objective_gradient_norm_weights": 6.0},
        {"step": 4, "gradient_cosine": -0.5, "meta_gradient_norm_weights": 0.0,
         "objective_gradient_norm_weights": 6.0}], **changes}


class Pictures:
    """Images with the interface that reports use, and names as hostile as files can have."""

    ndim = 4

    def __init__(self, count, names=HOSTILE):
        self._names = [names[i % len(names)] + f"{i}.jpg" for i in range(count)]

    def __len__(self):
        return len(self._names)

    def pictures(self, examples):
        return np.random.default_rng(0).integers(0, 255, [len(examples), 8, 8, 1]).astype(np.uint8)

    def names(self, examples):
        return [self._names[i] for i in examples]


def page_contents(right=None, names=HOSTILE, images=True):
    """Contents of a run whose classes and files have hostile names."""
    found = predictions(np.arange(40) % 4 > 0 if right is None else right, classes=len(names))
    made = contents.gather(settings("/runs/<b>run", seed=0), results(), names, found)
    if not images:
        return made
    pictures = Pictures(40)
    looked = contents.Unlabeled(pictures, np.arange(20), {role: each[:20] for role, each in
                                                          made.probabilities.items()}, 200,
                                np.arange(20), pictures.names(range(20)))
    import dataclasses
    return dataclasses.replace(made, test=pictures, unlabeled=looked, views=[np.zeros([9, 8, 8, 1])] * 2)
