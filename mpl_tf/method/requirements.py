"""Checks of the networks and objectives that the models here are given. A refusal is one line."""

from __future__ import annotations

from typing import Any, Mapping

import tensorflow as tf

from mpl_tf.common import keras_seam
from mpl_tf.method import objectives
from mpl_tf.networks import layers


FLOAT16 = ("in float16 small gradients become 0, and the loss scaling against that would change the "
           "update that is differentiated: use mixed_bfloat16 or float32")


def check_networks(**networks: Any) -> None:
    """Raises ValueError unless all `networks`, by role, can be trained together.

    They have to be Keras models with logits for the same classes, and may share no weights.
    Regularizers, constraints of the student and mixed_float16 are refused, naming the layer: they
    would change the update that the formulas differentiate.
    """
    classes = {}
    for role, network in networks.items():
        if not isinstance(network, tf.keras.Model):
            raise ValueError(f"{role} is a {type(network).__name__}, expected a tf.keras.Model "
                             "from images to logits [B, K]")
        inputs = getattr(network, "inputs", None) or ()
        if len(inputs) > 1:
            raise ValueError(f"{role} has {len(inputs)} inputs, expected one, the images: let one input "
                             "hold all that the network sees")
        if network.built and getattr(network, "output_shape", None):
            _check_output(role, network)
            classes[role] = network.output_shape[-1]
        for layer in keras_seam.layers_of(network):
            _check_layer(role, layer)
        for weight in network.trainable_variables if role == "student" and network.built else ():
            if getattr(weight, "constraint", None) is not None:
                raise ValueError(f"student's weight {keras_seam.name_of(weight)!r} has a constraint, which "
                                 "changes its update and is not differentiated: remove it")
    weights = [id(weight) for network in networks.values() if network.built
               for weight in network.weights]
    if len(set(weights)) < len(weights):
        raise ValueError(f"{' and '.join(networks)} share weights: build them as separate models")
    if len(set(classes.values())) > 1:
        raise ValueError("networks disagree on the number of classes: "
                         + ", ".join(f"{role} has {k}" for role, k in classes.items())
                         + "; build them with the same number of logits")


def _check_output(role, network):
    shape, last = network.output_shape, keras_seam.last_layer(network)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"{role}'s output is {shape}, expected logits [B, K]: flatten or pool the "
                         "features before the last layer")
    if isinstance(last, tf.keras.layers.Softmax) or keras_seam.last_function(last) in (
            tf.keras.activations.softmax, tf.nn.softmax):
        raise ValueError(f"{role} ends in a softmax (layer {last.name!r}), expected logits: remove "
                         "it, because the losses here take the softmax themselves")


def _check_layer(role, layer):
    for name, value in keras_seam.attributes_of(layer):
        if isinstance(value, tf.keras.regularizers.Regularizer):
            raise ValueError(f"{role}'s layer {layer.name!r} has a {name}, which is not "
                             "differentiated here: remove it and set the weight decay in compile")
        if isinstance(value, tf.keras.constraints.Constraint) and role == "student":
            raise ValueError(f"student's layer {layer.name!r} has a {name}, which changes its update "
                             "and is not differentiated: remove it")
    if layer.compute_dtype == "float16":
        raise ValueError(f"{role}'s layer {layer.name!r} has the policy {layer.dtype_policy.name}: "
                         f"{FLOAT16}")


def check_teacher_input(teacher_input: str, teacher: tf.keras.Model,
                        objective: objectives.Objective) -> None:
    """Raises ValueError, in one line, if teacher or objective do not go with `teacher_input`."""
    if teacher_input not in ("image", "teacher_probs"):
        raise ValueError(f'teacher_input={teacher_input!r}: give "image" or "teacher_probs"')
    if teacher_input == "image":
        return
    if objective.unlabeled or objective.labeled_view != "image":
        raise ValueError(
            f'teacher_input="teacher_probs" with the objective {type(objective).__name__}, which '
            "needs strong views of the teacher's images: its input is a stored distribution, so "
            "use objectives.Supervised")
    if teacher.built and getattr(teacher, "output_shape", None):
        if teacher.input_shape[1:] != teacher.output_shape[1:]:
            raise ValueError(
                f'teacher_input="teacher_probs" with a teacher from {teacher.input_shape[1:]} to '
                f"{teacher.output_shape[1:]}: expected distributions over the same classes; build "
                "it with networks.calibration(num_classes)")


def check_objective(objective: Any) -> None:
    """Raises ValueError unless `objective` is an mpl_tf.objectives.Objective."""
    if not isinstance(objective, objectives.Objective):
        raise ValueError(f"objective={objective!r}: expected an mpl_tf.objectives.Objective such as "
                         "mpl_tf.objectives.UDA(weight=1.0, temperature=0.8)")
    tensors, _ = objectives.takes(objective)
    if tensors < (4 if objective.unlabeled else 2):
        raise ValueError(
            f"{type(objective).__name__}.losses takes {tensors} tensors, expected losses(labels, "
            "labeled_logits" + (", weak_logits, strong_logits" if objective.unlabeled else "")
            + ", sample_weight=None)")


def check_images(networks: Mapping[str, tf.keras.Model], shape: tf.TensorShape) -> None:
    """Raises ValueError unless all `networks`, by role, take images of `shape`, the batch first.

    Shapes that differ in a last dimension of 1 pass, because Keras adds or drops it. A Sequential
    without Input passes, because it takes inputs of any shape that its layers take.
    """
    for role, network in networks.items():
        expected = network.built and getattr(network, "input_shape", None)
        fixed = isinstance(expected, tuple) and keras_seam.has_fixed_input(network)
        if fixed and shape.rank and not any(each.is_compatible_with(expected) for each in (
                shape, shape + [1], shape[:-1] if shape[-1:] == [1] else shape)):
            raise ValueError(f"{role} takes images {expected[1:]}, but the training data's are "
                             f"{tuple(shape[1:])}: build it for those, or resize them")


def check_replayable(**networks: tf.keras.Model) -> None:
    """Raises ValueError unless meta_gradient="jvp" works with the networks, given by role.

    Their passes have to be replayable, and TensorFlow has to have the student's forward mode.
    """
    for role, network in networks.items():
        stuck = layers.not_replayable(network)
        if stuck:
            raise ValueError(
                f'meta_gradient="jvp" replays passes, but {role} has {", ".join(stuck)}, whose '
                'random numbers cannot be drawn again: use mpl_tf.layers.ReplayableDropout, or '
                '"nested_tape"')
    embeddings = [layer.name for layer in keras_seam.layers_of(networks["student"])
                  if isinstance(layer, tf.keras.layers.Embedding)]
    if embeddings:
        raise ValueError(f'meta_gradient="jvp" cannot differentiate the embedding {embeddings[0]} '
                         'of student in TensorFlow: use "nested_tape"')


def check_microbatch_size(size: Any, meta_gradient: str) -> None:
    """Raises ValueError, in one line, for a microbatch_size that is none, or not with `meta_gradient`."""
    if size is None or (isinstance(size, int) and not isinstance(size, bool) and size == 0):
        return
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"microbatch_size={size!r}: expected a whole number of examples, or None for "
                         "whole batches")
    if meta_gradient != "jvp":
        raise ValueError(f'microbatch_size={size} with meta_gradient="{meta_gradient}", which holds all '
                         'passes together, so that slices would save nothing: use meta_gradient="jvp"')


def check_sliceable(replicas: int, **networks: tf.keras.Model) -> None:
    """Raises ValueError unless the networks, by role, can be passed in slices of a batch."""
    for role, network in networks.items():
        for layer in keras_seam.layers_of(network):
            shape = getattr(layer, "noise_shape", None)
            if isinstance(layer, layers.ReplayableDropout) and shape and shape[0] not in (None, 1):
                raise ValueError(
                    f"{role}'s layer {layer.name!r} has the noise_shape {shape}, of a whole batch, and "
                    "with microbatch_size a pass has a slice of it: let its first number be None")
            if replicas > 1 and getattr(layer, "synchronized", False):
                raise ValueError(
                    f"{role}'s layer {layer.name!r} is synchronized over {replicas} replicas, which cannot "
                    "meet in the loop over slices: leave synchronized or microbatch_size out")
        drawing = keras_seam.seeded_layers(network)
        if drawing:
            raise ValueError(
                f"{role} has {drawing[0].name} ({type(drawing[0]).__name__}), whose random numbers "
                "would be the same for every slice of a batch with microbatch_size: use "
                "mpl_tf.layers.ReplayableDropout, or leave microbatch_size out")
