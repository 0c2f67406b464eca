"""Networks of a user's own: functions by their path, such as my_package.my_module:build.

A function is `(num_classes, input_shape, **options) -> tf.keras.Model`. The working folder is on the
path. To import it is to run its module: name only one that you would run.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import keyword
import os
import sys
import textwrap
from typing import Any, Callable, Optional, Sequence

from mpl_tf.common.lazy import tf
from mpl_tf.networks import parts, weight_files
from mpl_tf.networks.registry import network

SHOWN = "MODULE:FUNCTION"


def check_name(module: str, function: str) -> None:
    """Raises ValueError, in one line, unless these can be the names of a module and a function."""
    names = [*module.split("."), *function.split(".")]
    if module.endswith(".py"):
        as_module = module[:-len(".py")].replace("/", ".").strip(".")
        raise ValueError(f"expected {SHOWN}, the name of a module that can be imported from here, not of a file: "
                         f"{as_module}:{function}" + " if the folder that it begins in is the working folder or in "
                         "PYTHONPATH")
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise ValueError(f"expected {SHOWN} with names of Python, such as my_package.my_module:build, "
                         "or keras.applications:NAME")


@network(SHOWN, r"(?!keras\.applications:)([^:]*):(.*)", takes=("image", "point", "probs"), text=True,
         kept=True, check=check_name, example="my_package.my_module:build")
def imported(module: str, function: str, num_classes: int, input_shape: Sequence[int],
             dropout: Optional[float] = None, batch_norm_decay: float = 0.99,
             drop_connect: float = 0.2, name: Optional[str] = None, seed: Optional[int] = None,
             weights: Optional[str] = None) -> tf.keras.Model:
    """The model that a function of a user's own builds; it is called while Keras draws by `seed`.

    Args:
      module, function: the names in its path.
      dropout, batch_norm_decay, drop_connect, name, seed: given to the function if it takes them by
        name or by `**options`. A dropout rate that it does not take is refused.
      weights: "imagenet" is given to the function, a file is loaded into its model.

    Raises:
      ValueError: in one line: nothing can be imported there, it builds no model, or one of other
        inputs or outputs.
    """
    parts.check(num_classes, input_shape)
    path = f"{module}:{function}"
    build = find_function(module, function)
    options = {"dropout": dropout, "batch_norm_decay": batch_norm_decay, "name": name, "seed": seed,
               "drop_connect": drop_connect}
    if dropout is None:
        del options["dropout"]
    if weights == weight_files.IMAGENET:
        options["weights"] = weights
    taken = _taken(build, options)
    for option in ("dropout", "weights"):
        if options.get(option) and option not in taken:
            raise ValueError(f"{path} takes no {option}, but {option}={options[option]} was asked for: "
                             "give the function that argument, or leave it out")
    with parts.seeded(seed):
        try:
            model = build(num_classes=num_classes, input_shape=tuple(input_shape), **taken)
        except Exception as error:  # a program of somebody else's raises what it likes
            raise ValueError(f"{path} cannot be built for {num_classes} classes and inputs of shape "
                             f"{tuple(input_shape)} ({reason(error)}): correct the function"
                             ) from error
        model = _fitting(path, model, num_classes, tuple(input_shape), name)
    if weights and weights != weight_files.IMAGENET:
        weight_files.load(model, weights)
    return model


def _taken(function, options):
    """Those of `options` that a function takes by name; all where it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):     # what is written in C need not have one
        return {}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return options
    names = {parameter.name for parameter in parameters}
    return {option: value for option, value in options.items() if option in names}


def _fitting(path, model, num_classes, shape, name):
    """The model with inputs of `shape` alone; refuses what is none, or of other inputs or outputs."""
    if not isinstance(model, tf.keras.Model):
        raise ValueError(f"{path} returns {_kind(model)}, expected a tf.keras.Model from inputs of "
                         f"shape {shape} to logits of {num_classes} classes: return one")
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) > 1:
        raise ValueError(f"{path} builds a model of {len(inputs)} inputs, expected one of shape "
                         f"{shape}: let one input hold all that the network sees")
    own = tuple(inputs[0].shape[1:]) if inputs else None
    if own is not None and (len(own) != len(shape) or any(
            mine not in (None, given) for mine, given in zip(own, shape))):
        raise ValueError(f"{path} builds a model of inputs of shape {own}, but the data have {shape}: "
                         "build it for its argument input_shape")
    if own != shape:        # of any size, or a class of its own, which has no inputs yet
        image = tf.keras.Input(shape, dtype=parts.variable_dtype())
        try:
            model = tf.keras.Model(image, model(image), name=name)
        except Exception as error:
            raise ValueError(f"{path} builds a model that does not take inputs of shape {shape} "
                             f"({reason(error)}): correct the function") from error
    outputs = model.outputs
    if len(outputs) != 1 or tuple(outputs[0].shape[1:]) != (num_classes,):
        said = ", ".join(str(tuple(output.shape[1:])) for output in outputs)
        raise ValueError(f"{path} builds a model with outputs of shape {said}, expected one of logits, "
                         f"({num_classes},): end it with Dense(num_classes)")
    return model


def _kind(value):
    return "nothing" if value is None else f"a {type(value).__name__}"


def find_function(module: str, function: str) -> Callable[..., Any]:
    """Imports the function `function` of `module`; the working folder is on the path from then on.

    Raises:
      ValueError: in one line, with the reason.
    """
    path = f"{module}:{function}"
    if os.getcwd() not in [os.path.abspath(folder) for folder in sys.path]:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # a module may raise anything, and call sys.exit
        raise ValueError(f"{path} cannot be imported ({reason(error)}): run it from the folder in "
                         "which the module lies, or install it") from error
    for name in function.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), n=1)
            raise ValueError(f"{path}: {module} has no {name}: "
                             + (f"did you mean {near[0]}?" if near else "correct the name"))
        found = getattr(found, name)
    if not callable(found):
        raise ValueError(f"{path} is {_kind(found)}, expected a function (num_classes, input_shape, "
                         "**options) that returns a tf.keras.Model")
    return found


def source_of(module: str, function: str) -> str:
    """The source of a function without comments and layout, to tell whether it has changed.

    Where Python does not know it, "".
    """
    try:
        text = textwrap.dedent(inspect.getsource(find_function(module, function)))
        return ast.unparse(ast.parse(text))
    except (OSError, TypeError, SyntaxError):
        return ""


def reason(error: BaseException) -> str:
    """The type and the beginning of the words of an error of somebody else's, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
