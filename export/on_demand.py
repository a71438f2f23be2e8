"""Outputs of an ONNX file that are worked out only for those who ask, so that one file serves two users at the price of what each needs."""

from collections.abc import Sequence

import onnx
from onnx import NodeProto, TensorProto, helper

ASKED = "_when_asked"


def on_demand(model: bytes, always: Sequence[str], flags: Sequence[str]) -> bytes:
    """The same file, in which outputs other than `always` are zeros in batches where every one of the inputs `flags` [B] is 0.

    What only those others need stands in a branch that a runtime then skips. The first of `always` is [B, T, D]; the others are [B, n] or
    [B, T, n] with n ≤ D.
    """
    changed = onnx.load_from_string(model)
    graph = changed.graph
    nodes = list(graph.node)
    needed = _ancestors(nodes, always)
    trunk, branch = ([node for index, node in enumerate(nodes) if (index in needed) == wanted] for wanted in (True, False))
    held_outside = {name for node in trunk for name in node.input} | {value.name for value in graph.output}
    inside = [value for value in graph.initializer if value.name not in held_outside]
    outside = [value for value in graph.initializer if value.name in held_outside]
    others = [value for value in graph.output if value.name not in always]
    if held_outside.intersection(flags):
        raise ValueError("what is always worked out must not depend on the flags")
    names = {value.name: value.name + ASKED for value in others}
    for node in branch:
        for names_of_node in (node.input, node.output):
            names_of_node[:] = [names.get(name, name) for name in names_of_node]
    asked = helper.make_graph(branch, "asked", [], [_free(names[value.name]) for value in others], inside)
    unasked = _zeros(others, always[0])
    choose = [
        helper.make_node("Sum", list(flags), ["flags_together"]),
        helper.make_node("ReduceMax", ["flags_together"], ["flags_highest"], keepdims=0),
        helper.make_node("Cast", ["flags_highest"], ["is_asked"], to=TensorProto.BOOL),
        helper.make_node("If", ["is_asked"], [value.name for value in others], then_branch=asked, else_branch=unasked),
    ]
    changed.graph.CopyFrom(helper.make_graph([*trunk, *choose], graph.name, graph.input, graph.output, outside))
    onnx.checker.check_model(changed)
    serialised: bytes = changed.SerializeToString()
    return serialised


def _ancestors(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> set[int]:
    """Indices of the nodes that these outputs depend on."""
    made_by = {name: index for index, node in enumerate(nodes) for name in node.output}
    left, found = list(outputs), set[int]()
    while left:
        index = made_by.get(left.pop())
        if index is not None and index not in found:
            found.add(index)
            left.extend(nodes[index].input)
    return found


def _zeros(outputs: Sequence[onnx.ValueInfoProto], like: str) -> onnx.GraphProto:
    """As many rows, and steps where an output has them, as `like` [B, T, D] has."""
    nodes: list[NodeProto] = []
    initializers = [helper.make_tensor(f"{like}_{name}", TensorProto.INT64, [1], [value]) for name, value in (("start", 0), ("axis", 2))]
    initializers.append(helper.make_tensor(f"{like}_none", TensorProto.FLOAT, [], [0.0]))
    for output in outputs:
        name, dims = output.name, output.type.tensor_type.shape.dim
        initializers.append(helper.make_tensor(f"{name}_width", TensorProto.INT64, [1], [dims[-1].dim_value]))
        zeros = f"{name}_by_step" if len(dims) == 2 else f"{name}_unasked"
        nodes.append(helper.make_node("Slice", [like, f"{like}_start", f"{name}_width", f"{like}_axis"], [f"{name}_some"]))
        nodes.append(helper.make_node("Mul", [f"{name}_some", f"{like}_none"], [zeros]))
        if len(dims) == 2:
            nodes.append(helper.make_node("ReduceMax", [zeros], [f"{name}_unasked"], axes=[1], keepdims=0))
    return helper.make_graph(nodes, "unasked", [], [_free(f"{output.name}_unasked") for output in outputs], initializers)


def _free(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
