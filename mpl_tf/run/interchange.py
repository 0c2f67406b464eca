"""Writes a model's config so that Keras 2 and Keras 3 both read it: `common_form`.

The weights of a .keras file lie in groups of the same names in both, and need no change. The config
differs in what is put right here; what has no form for both stays in its own Keras's.

    Functional      its module is private in both. (keras, Model) with the same config is one too.
    inbound nodes   Keras 3 still reads Keras 2's lists: [[layer, node, tensor, kwargs], ...].
    nested models   Keras 2 counts their calls from 1, Keras 3 from 0. So each call is listed twice:
                    the node that a later layer asks for is then the same call for both. The copy
                    leads to no output, and is gone when the loaded model is saved.
    InputLayer      batch_input_shape, which Keras 3 takes too.
    dtype policies  by name.
    build_config    only where it has a single shape, and no call of the model builds the layer.
    arguments       that one of them does not know: left out where they hold the default.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Set

# Modules of Keras's own functional models, and by how much Keras 2 counts beyond Keras 3 there.
_KERAS_2 = ("keras.src.engine.functional", "keras.engine.functional",
            "tf_keras.src.engine.functional", "tf_keras.engine.functional")
_KERAS_3 = ("keras.src.models.functional",)
# Arguments that one Keras alone knows, with the value that changes nothing.
_DEFAULTS = {
    "antialias": False, "autocast": True, "bounding_box_format": None, "dynamic": False,
    "flash_attention": None, "force_generator": False, "groups": 1, "input_axes": None,
    "input_length": None, "lora_alpha": None, "lora_rank": None, "optional": False,
    "output_axes": None, "pad_to_aspect_ratio": False, "quantization_config": None,
    "quantization_mode": None, "renorm": False, "renorm_clipping": None, "rng_type": None,
    "rms_scaling": False, "seed": None, "sliding_window": None, "synchronized": False, "time_major": False,
    "use_cudnn": "auto", "use_gate": False, "virtual_batch_size": None,
    "zero_output_for_mask": False}
# The same where another class has use for the argument. Found by loading models of 60 layers.
_LAST = {"data_format": "channels_last"}
_OF_CLASSES = {
    **dict.fromkeys(("CenterCrop", "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation",
                     "RandomZoom"), _LAST),
    "RandomContrast": {**_LAST, "value_range": [0, 255]},
    "Resizing": {**_LAST, "fill_mode": "constant", "fill_value": 0.0},
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
                    {**_LAST, "trainable": True, "noise_shape": None})}
_ONLY_WITH_RENORM = "renorm_momentum"
_KERNELS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")   # of no use in them:
_WITHOUT_KERNEL = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")


def common_form(config: Any) -> Any:
    """A copy of a model's config, as config.json of a .keras file has it, that both Keras read.

    What is in the common form already stays as it is.
    """
    if isinstance(config, list):
        return [common_form(part) for part in config]
    if not isinstance(config, dict):
        return config
    if not isinstance(config.get("config"), dict) or "class_name" not in config:
        return {key: common_form(value) for key, value in config.items()}
    if config["class_name"] in ("DTypePolicy", "Policy") and config["config"].get("name"):
        return config["config"]["name"]
    part = {key: common_form(value) for key, value in config.items()
            if key not in ("inbound_nodes", "compile_config")}
    if "inbound_nodes" in config:       # the model around it, which knows all layers, changes these
        part["inbound_nodes"] = config["inbound_nodes"]
    _build_config(part)
    if _is_keras(part):
        _arguments(part)
        _layers(part, config)
    return part


def _is_keras(part):
    return str(part.get("module")).split(".")[0] in ("keras", "tf_keras") or str(
        part.get("registered_name")).startswith("mpl_tf>")


def _build_config(part):
    shapes = part.get("build_config", {})
    if list(shapes or ()) != ["input_shape"] or shapes["input_shape"] is None:
        part.pop("build_config", None)


def _arguments(part):
    """Changes the arguments of one object to those that both Keras take."""
    inner, kind = part["config"], part["class_name"]
    if str(part["module"]).startswith("tf_keras."):
        part["module"] = part["module"][len("tf_"):]
    if inner.get("renorm") in (False, None):
        inner.pop(_ONLY_WITH_RENORM, None)
    if kind != "InputLayer":    # the model has an input of its own
        inner.pop("batch_input_shape", None)
    for key, default in {**_DEFAULTS, **_OF_CLASSES.get(kind, {})}.items():
        if key in inner and inner[key] == default and type(inner[key]) is type(default):
            del inner[key]
    if kind in _WITHOUT_KERNEL:
        for key in _KERNELS:
            inner.pop(key, None)
    if kind == "InputLayer" and "batch_shape" in inner:
        inner["batch_input_shape"] = inner.pop("batch_shape")
    if kind == "LeakyReLU" and "negative_slope" in inner:
        inner["alpha"] = inner.pop("negative_slope")
    axis = inner.get("axis")
    if kind.endswith("BatchNormalization") and isinstance(axis, list) and len(axis) == 1:
        inner["axis"] = axis[0]
    for key, value in inner.items():
        if key.endswith("activation") and value == "silu":
            inner[key] = "swish"        # is known to both


def _layers(part, config):
    """Changes what a model says of its layers' calls."""
    layers = part["config"].get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return
    functional = part["class_name"] == "Functional" and config["module"] in _KERAS_2 + _KERAS_3
    if functional or layers and layers[0].get("class_name") == "InputLayer":
        part.pop("build_config", None)
        for layer in layers:
            layer.pop("build_config", None)
    if not functional:
        return
    nested = {layer["name"] for layer in layers if _counts_from_one(layer)}
    functionals = {layer["name"] for layer in layers if layer["class_name"] in ("Functional", "Model")}
    of_keras_3 = config["module"] in _KERAS_3
    nodes = {layer["name"]: _nodes(layer["inbound_nodes"], nested, of_keras_3) for layer in layers}
    if None in nodes.values():
        return      # a call has no form for both: the whole model stays its own Keras's
    for layer in layers:
        calls = nodes[layer["name"]]
        layer["inbound_nodes"] = [call for call in calls
                                  for _ in range(2 if layer["name"] in nested else 1)]
    inner = part["config"]
    for key in ("input_layers", "output_layers"):
        inner[key] = _ends(inner[key], nested, functionals, of_keras_3)
    part["config"] = {key: value for key, value in inner.items() if key in (
        "name", "trainable", "layers", "input_layers", "output_layers")}
    part.update(module="keras", class_name="Model", registered_name=None)


def _counts_from_one(layer):
    """Whether Keras 2 counts the calls of a nested model from 1, as it does where it has inputs."""
    inner = layer["config"].get("layers")
    return layer["class_name"] in ("Functional", "Model") or (
        layer["class_name"] == "Sequential" and bool(inner)
        and inner[0].get("class_name") == "InputLayer")


def _index(name, call, nested):
    """The common number of a layer's call, which counts from 0."""
    return 2 * call + 1 if name in nested else call


def _nodes(nodes: List[Any], nested: Set[str], of_keras_3: bool) -> Optional[List[Any]]:
    """The calls of a layer as lists that both read, or None where one has no such form."""
    found = []
    for node in nodes:
        node = _of_keras_3(node) if of_keras_3 else _of_keras_2(node, nested)
        if node is None:
            return None
        tensors, kwargs = node
        found.append([[name, _index(name, call, nested), tensor, kwargs]
                      for name, call, tensor in tensors])
    return found


def _of_keras_2(node, nested):
    """([(layer, call from 0, tensor)], kwargs) of a call as Keras 2 writes it, or None."""
    if not isinstance(node, list) or not all(
            isinstance(each, list) and isinstance(each[0], str) and not each[0].startswith("_CONST")
            for each in node):
        return None
    kwargs = node[-1][3] if node and len(node[-1]) > 3 else {}
    if not _is_plain(kwargs):
        return None
    return [(each[0], each[1] - (each[0] in nested), each[2]) for each in node], _without_none(kwargs)


def _of_keras_3(node):
    """The same of a call as Keras 3 writes it."""
    args, kwargs = node.get("args"), node.get("kwargs")
    if not isinstance(args, list) or len(args) != 1 or not _is_plain(kwargs):
        return None
    tensors = args[0] if isinstance(args[0], list) else args
    if not tensors or not all(isinstance(each, dict) and each.get("class_name") == "__keras_tensor__"
                              for each in tensors):
        return None
    return [tuple(each["config"]["keras_history"]) for each in tensors], _without_none(kwargs)


def _without_none(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in kwargs.items() if value is not None}


def _is_plain(kwargs):
    """Whether arguments are single values, in which no tensor is named."""
    return isinstance(kwargs, dict) and all(
        value is None or isinstance(value, (bool, int, float, str)) for value in kwargs.values())


def _ends(ends, nested, functionals, of_keras_3):
    """What a model says of its inputs or outputs, with the common numbers of their calls."""
    if isinstance(ends, dict):
        return {key: _ends(value, nested, functionals, of_keras_3) for key, value in ends.items()}
    if len(ends) == 3 and isinstance(ends[0], str):
        name, call, tensor = ends
        from_one = name in (functionals if of_keras_3 else nested)
        return [name, _index(name, call - from_one, nested), tensor]
    ends = [_ends(each, nested, functionals, of_keras_3) for each in ends]
    # Keras 2 writes a list also for a single one, and Keras 3 would then want a list as input.
    return ends[0] if len(ends) == 1 and not of_keras_3 else ends
