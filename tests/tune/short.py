"""A tiny study in a folder, and what it has written."""

import csv
import json

TINY = ["--dataset=digits", "--labeled_examples=60", "--holdout=30", "--student_network=mlp-8",
        "--objective=supervised", "--train_steps=10", "--batch_size=8", "--schedule=constant",
        "--student_learning_rate=0.05", "--model_dir=unused"]


def arguments(folder, *more, trials=3, extra=()):
    """A command line of a tiny study in `folder`/study, with its flag file."""
    file = folder / "tiny.cfg"
    file.write_text("\n".join(TINY))
    return [f"--study={folder / 'study'}", f"--flagfile={file}", f"--trials={trials}", *more, "--", *extra]


def results(folder):
    """What a study of `arguments` has written to results.json."""
    return json.loads((folder / "study" / "results.json").read_text())


def trials(folder):
    """The rows of its trials.csv."""
    with open(folder / "study" / "trials.csv", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
