"""Many whole numbers side by side in one register of the processor, for loops that numba leaves one by one.

A compiled loop that reads and writes several rows of arrays is not made parallel by itself: the compiler cannot know
that rows do not overlap. Here a loop says which numbers it takes together: `load` some, work on all at once, `store`
them. On any processor the results are the same; one without wide registers takes several steps for each.

    >>> from gatescope.analysis.statistics.jit import jit
    >>> @jit
    ... def cap(value_x, most):
    ...     for at in range(0, len(value_x), 8):
    ...         store(value_x, at, least(load(value_x, at, 8), spread(value_x, most, 8)))
    >>> value_x = np.arange(8, dtype=np.int16)
    >>> cap(value_x, 3)
    >>> value_x.tolist()
    [0, 1, 2, 3, 3, 3, 3, 3]
"""

from collections.abc import Callable
from typing import Any

import numpy as np  # noqa: F401  # the example
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

Code = tuple[Any, Callable[[Any, Any, Any, Any], Any]]
_in_code: Callable[[Callable[..., Code]], Callable[..., Any]] = intrinsic(prefer_literal=True)


class Lanes(types.Type):
    """The type of `count` whole numbers of one kind."""

    def __init__(self, kind: Any, count: int) -> None:
        self.kind, self.count = kind, count
        super().__init__(name=f"{count} lanes of {kind}")


@register_model(Lanes)
class _InOneRegister(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(ir.IntType(lanes.kind.bitwidth), lanes.count))  # type: ignore[no-untyped-call]


@_in_code
def load(_context: Any, array_x: Any, _at: Any, count: Any) -> Code:
    """So many numbers of an array of one axis, in one piece, from a place on."""
    lanes = Lanes(array_x.dtype, count.literal_value)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _place(context, builder, signature.args[0], lanes, given)
        return builder.load(place, align=lanes.kind.bitwidth // 8)

    return lanes(array_x, types.intp, count), code


@_in_code
def store(_context: Any, array_x: Any, _at: Any, lanes: Any) -> Code:
    """Numbers back to an array, from a place on."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _place(context, builder, signature.args[0], lanes, given)
        builder.store(given[2], place, align=lanes.kind.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array_x, types.intp, lanes), code


@_in_code
def spread(_context: Any, array_x: Any, _value: Any, count: Any) -> Code:
    """One number in every place, of the kind that the array is of."""
    lanes = Lanes(array_x.dtype, count.literal_value)

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind = context.get_value_type(lanes)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), given[1], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
        )

    return lanes(array_x, lanes.kind, count), code


def _place(context: Any, builder: Any, kind: Any, lanes: Lanes, given: Any) -> Any:
    """Where in memory lanes begin in an array, of which the first given is the array, the second the place."""
    array = context.make_array(kind)(context, builder, given[0])
    return builder.bitcast(builder.gep(array.data, [given[1]]), context.get_value_type(lanes).as_pointer())


def _of_two(make: Callable[[Any, Any, Any, bool], Any]) -> Callable[..., Any]:
    """An operation on two that are of one kind."""

    @_in_code
    def operation(_context: Any, one: Any, other: Any) -> Code:
        def code(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            return make(builder, given[0], given[1], one.kind.signed)

        return one(one, other), code

    return operation


def _mask(sign: str) -> Callable[[Any, Any, Any, bool], Any]:
    """-1 where a comparison holds, 0 elsewhere."""

    def make(builder: Any, one: Any, other: Any, signed: bool) -> Any:
        compare = builder.icmp_signed if signed else builder.icmp_unsigned
        return builder.sext(compare(sign, one, other), one.type)

    return make


def _chosen(sign: str) -> Callable[[Any, Any, Any, bool], Any]:
    """That of the two which a comparison holds for."""

    def make(builder: Any, one: Any, other: Any, signed: bool) -> Any:
        compare = builder.icmp_signed if signed else builder.icmp_unsigned
        return builder.select(compare(sign, one, other), one, other)

    return make


@_in_code
def bits(_context: Any, lanes: Any) -> Code:
    """How many bits of each are set."""

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind, name = context.get_value_type(lanes), f"llvm.ctpop.v{lanes.count}i{lanes.kind.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name), given)

    return lanes(lanes), code


least = _of_two(_chosen("<"))
"""The smaller of each two."""
most = _of_two(_chosen(">"))
"""The larger of each two."""
plus = _of_two(lambda builder, one, other, _: builder.add(one, other))
minus = _of_two(lambda builder, one, other, _: builder.sub(one, other))
both = _of_two(lambda builder, one, other, _: builder.and_(one, other))
"""The bits that are in both."""
either = _of_two(lambda builder, one, other, _: builder.or_(one, other))
"""The bits that are in either."""
is_same = _of_two(_mask("=="))
"""-1 where two are the same, else 0."""
is_less = _of_two(_mask("<"))
"""-1 where the first is less, else 0."""
