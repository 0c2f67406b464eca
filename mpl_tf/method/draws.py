"""Which operations of a graph draw random numbers, and which layer each of them belongs to."""

from __future__ import annotations

import collections
from typing import List, Sequence, Tuple

import tensorflow as tf

from mpl_tf.method import recording

Pairs = Sequence[Tuple[recording.Call, recording.Call]]
_GENERATORS = ("StatefulUniform", "StatefulStandardNormal", "StatefulTruncatedNormal",
               "StatefulRandomBinomial", "RngSkip", "RngReadAndSkip", "NonDeterministicInts")


def drawing(replicas: Sequence[Pairs], state: Sequence[tf.Variable],
            seeds_hold: bool) -> Tuple[List[recording.Call], List[recording.Call]]:
    """Finds the calls whose own operations draw random numbers.

    Args:
      replicas: for each replica, pairs of a call in the first pass and the same in the second.
      state: variables that are put back between the passes: a generator that has its state in one
        of them draws the same numbers again.
      seeds_hold: whether two operations of one seed draw the same numbers.

    Returns:
      (calls of the first pass that draw other numbers in the second, all that draw).
    """
    found = [[], []]
    pairs = [pair for of_replica in replicas for pair in of_replica]
    # All at once: where replicas meet within a layer, operations of one stand among another's.
    by_call = _draws(list(dict.fromkeys(call for pair in pairs for call in pair)), state)
    for one, other in pairs:
        drawn = by_call.get(one, []), by_call.get(other, [])
        fixed = seeds_hold and drawn[0] == drawn[1] and all(map(any, drawn[0]))
        found[0] += [one] * bool(drawn[0] and not fixed)
        found[1] += [one] * bool(drawn[0])
    return found[0], found[1]


def _draws(calls, state):
    """{call: the seeds of each operation by which it draws}, by innermost calls; seeds may be (0, 0)."""
    found = collections.defaultdict(list)
    for graph in {call.graph for call in calls}:
        # Of those that start at one operation, the outer ones come first.
        here = sorted((call for call in calls if call.graph is graph),
                      key=lambda call: (call.start, call.depth))
        library = {function.signature.name: function.node_def
                   for function in graph.as_graph_def().library.function}
        for number, operation in enumerate(graph.get_operations()):
            seeds = _seeds(operation.node_def, library)
            if seeds and not (operation.type.startswith(_GENERATORS)
                              and _holds(state, operation.inputs[0])):
                inner = [call for call in here if call.start <= number < call.end]
                if inner:
                    found[inner[-1]] += seeds
    return found


def _seeds(node, library):
    """The seeds of each random operation in a node, or in the functions that it calls."""
    if node.op.startswith(_GENERATORS):
        return [(0, 0)]
    if "seed" in node.attr and "seed2" in node.attr:
        return [(node.attr["seed"].i, node.attr["seed2"].i)]
    names = [value.func.name for value in node.attr.values() if value.HasField("func")]
    names += [each.name for value in node.attr.values() for each in value.list.func]
    return [seeds for name in names for inner in library.get(name, ())
            for seeds in _seeds(inner, library)]


def _holds(variables, handle):
    """Whether `handle`, a resource within a function, is that of one of `variables`."""
    while handle is not None:
        if any(handle is variable.handle for variable in variables):
            return True
        captures = getattr(getattr(handle, "graph", None), "captures", ())
        handle = next((outer for outer, inner in captures if inner is handle), None)
    return False
