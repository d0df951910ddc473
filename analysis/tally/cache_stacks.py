"""Stacks of caches that know what comes, of several layers side by side: `LANES` of them go through each step together.

A stack is kept in order of nothing but its places: its first C are what a cache of C keeps. With every token its own
experts leave their places and enter again from the top (`_sink`): at each place the most wanted of who was there and of
who comes stays, the others go on. What stays so at the first C places is the most wanted of what a cache of C kept and
of the token's own experts. A place that nobody has holds `NOBODY`, which is wanted least.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.analysis.statistics.jit import jit
from gatescope.analysis.statistics.lanes import both, either, is_same, least, load, minus, most, plus, spread, store

LANES = 16
AT_ONCE = 8
"""Slots that go down a stack together; rows of slots are filled up with nobodies to a multiple of it."""
AHEAD = 16
NOBODY = -1


@jit
def best_depths(
    ids_ltk: NDArray[np.unsignedinteger],
    start_d: NDArray[np.integer],
    group_t: NDArray[np.integer],
    wanted_x: NDArray[np.signedinteger],
    count_glb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests of up to LANES layers by their depth where the next used is wanted most; at 0 where it is not there.

    wanted_x: room for (tokens of the longest document, slots in whole AT_ONCE, LANES), of a kind that holds as many.

    Nobody needs to be told by name: those that are asked for now are those that are wanted for now.
    """
    slots = ids_ltk.shape[2]
    experts = count_glb.shape[2] - 1
    row = -(-slots // AT_ONCE) * AT_ONCE * LANES
    stack_x, found_x = np.empty(experts * LANES, wanted_x.dtype), np.zeros(experts * LANES, wanted_x.dtype)
    most_found, counted = np.iinfo(wanted_x.dtype).max, 0
    for document in range(len(start_d) - 1):
        first, end = start_d[document], start_d[document + 1]
        _by_next_use(ids_ltk, first, end, experts, row, wanted_x)
        stack_x[:] = NOBODY
        for token in range(first, end):
            held = min(experts, (token - first) * slots) * LANES
            _leave(stack_x, held, end - token, found_x)
            for at in range((token - first) * row, (token - first + 1) * row, AT_ONCE * LANES):
                _sink(stack_x, min(experts, (token - first + 1) * slots) * LANES, wanted_x, at)
            counted += 1
            if token + 1 == end or group_t[token + 1] != group_t[token] or counted == most_found:
                _add_found(ids_ltk, token + 1 - counted, token + 1, found_x, count_glb[group_t[token]])
                counted = 0


@jit
def _by_next_use(
    ids_ltk: NDArray[np.unsignedinteger],
    first: int,
    end: int,
    experts: int,
    row: int,
    wanted_x: NDArray[np.signedinteger],
) -> None:  # pragma: no cover
    """How much each expert of a document's tokens is wanted after them: the tokens left when it is used next."""
    layers, _, slots = ids_ltk.shape
    wanted_x[: (end - first) * row] = NOBODY
    coming_e = np.empty(experts, wanted_x.dtype)
    for lane in range(layers):
        coming_e[:] = NOBODY
        for token in range(end - 1, first - 1, -1):
            at = (token - first) * row + lane
            for slot in range(slots):
                expert = ids_ltk[lane, token, slot]
                if expert < experts:
                    wanted_x[at + slot * LANES] = coming_e[expert]
                    coming_e[expert] = end - token


@jit
def _add_found(
    ids_ltk: NDArray[np.unsignedinteger],
    first: int,
    end: int,
    found_x: NDArray[np.signedinteger],
    count_lb: NDArray[np.int64],
) -> None:  # pragma: no cover
    """What was found at each depth in some tokens, to the counts; whatever else they asked for was nowhere."""
    layers, _, slots = ids_ltk.shape
    experts = count_lb.shape[1] - 1
    for lane in range(layers):
        for token in range(first, end):
            for slot in range(slots):
                count_lb[lane, 0] += ids_ltk[lane, token, slot] < experts
        for place in range(experts):
            count_lb[lane, place + 1] += found_x[place * LANES + lane]
            count_lb[lane, 0] -= found_x[place * LANES + lane]
    found_x[:] = 0


@jit
def _leave(
    stack_x: NDArray[np.signedinteger], held: int, now: int, found_x: NDArray[np.signedinteger]
) -> None:  # pragma: no cover
    """Who is wanted for now leaves the stack, and is counted where it was."""
    nobody, now_n = spread(stack_x, NOBODY, LANES), spread(stack_x, now, LANES)
    for at in range(0, held, LANES):
        there = load(stack_x, at, LANES)
        is_now = is_same(there, now_n)
        store(found_x, at, minus(load(found_x, at, LANES), is_now))
        store(stack_x, at, either(there, both(is_now, nobody)))


@jit
def _sink(
    stack_x: NDArray[np.signedinteger], held: int, wanted_x: NDArray[np.signedinteger], at: int
) -> None:  # pragma: no cover
    """As many as AT_ONCE enter from the top; those wanted least are at hand in the end, and forgotten."""
    a, b, c, d, e, f, g, h = _eight(wanted_x, at)
    for place in range(0, held, LANES):
        stays = load(stack_x, place, LANES)
        a, stays = least(stays, a), most(stays, a)
        b, stays = least(stays, b), most(stays, b)
        c, stays = least(stays, c), most(stays, c)
        d, stays = least(stays, d), most(stays, d)
        e, stays = least(stays, e), most(stays, e)
        f, stays = least(stays, f), most(stays, f)
        g, stays = least(stays, g), most(stays, g)
        h, stays = least(stays, h), most(stays, h)
        store(stack_x, place, stays)


@jit
def _eight(value_x: NDArray[np.signedinteger], at: int) -> tuple[Any, ...]:  # pragma: no cover
    """The lanes of AT_ONCE rows."""
    return (
        load(value_x, at, LANES),
        load(value_x, at + LANES, LANES),
        load(value_x, at + 2 * LANES, LANES),
        load(value_x, at + 3 * LANES, LANES),
        load(value_x, at + 4 * LANES, LANES),
        load(value_x, at + 5 * LANES, LANES),
        load(value_x, at + 6 * LANES, LANES),
        load(value_x, at + 7 * LANES, LANES),
    )


@jit
def _is_one(name: Any, a: Any, b: Any, c: Any, d: Any) -> Any:  # pragma: no cover
    """-1 where a name is one of four."""
    return either(either(is_same(name, a), is_same(name, b)), either(is_same(name, c), is_same(name, d)))


@jit
def next_used_hits(
    ids_ltk: NDArray[np.unsignedinteger],
    start_d: NDArray[np.integer],
    order_t: NDArray[np.integer],
    place_t: NDArray[np.integer],
    room_lb: NDArray[np.integer],
    experts: int,
    stack_x: NDArray[np.signedinteger],
    hits_xlbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """Requests of up to LANES layers, and those that caches of each room serve: by uses in the next tokens, then last.

    stack_x: (largest room, LANES), of a kind that holds `bits_needed`. How much an expert is wanted is one number: its
    uses in the next tokens, the time it was last used, and its own number, which tells it from others.
    """
    slots = ids_ltk.shape[2]
    places = len(stack_x) // LANES
    row = -(-slots // AT_ONCE) * AT_ONCE * LANES
    name_bits = _bits_of(experts)
    longest = 0
    for document in range(len(start_d) - 1):
        longest = max(longest, start_d[document + 1] - start_d[document])
    use, names = 1 << (name_bits + _bits_of(longest * slots)), (1 << name_bits) - 1
    ahead_x = np.full((AHEAD + 1) * row, experts, stack_x.dtype)  # who is used by the next tokens, in a ring
    wanted_x, found_x = np.full(row, NOBODY, stack_x.dtype), np.zeros(places * LANES, stack_x.dtype)
    uses_ne = np.zeros((LANES, experts), stack_x.dtype)
    asked_n = np.zeros(LANES, np.int64)
    for document in range(len(start_d) - 1):
        first, end = start_d[document], start_d[document + 1]
        stack_x[:], uses_ne[:] = NOBODY, 0
        for coming in range(first, min(first + AHEAD, end)):
            _come(ids_ltk, order_t[coming], experts, ahead_x, (coming - first) % (AHEAD + 1) * row, use, uses_ne)
        for token in range(first, end):
            held = min(places, (token - first) * slots) * LANES
            coming = token + AHEAD
            if coming < end:
                ring = (coming - first) % (AHEAD + 1) * row
                _come(ids_ltk, order_t[coming], experts, ahead_x, ring, use, uses_ne)
                for at in range(ring, ring + row, AT_ONCE * LANES):
                    _want_more(stack_x, held, names, ahead_x, at, use)
            ring = (token - first) % (AHEAD + 1) * row
            for at in range(ring, ring + row, AT_ONCE * LANES):
                _leave_by_name(stack_x, held, names, ahead_x, at, found_x)
            time = (token - first) * slots << name_bits
            _enter(ids_ltk, order_t[token], experts, time, name_bits, use, uses_ne, wanted_x, asked_n)
            for at in range(0, row, AT_ONCE * LANES):
                _sink(stack_x, min(places, (token - first + 1) * slots) * LANES, wanted_x, at)
            if token + 1 == end or place_t[token + 1] != place_t[token]:
                _add_hits(found_x, asked_n, room_lb, hits_xlbn[place_t[token]])


@jit
def _bits_of(number: int) -> int:  # pragma: no cover
    """Bits that hold every whole number up to this one, and one number more."""
    bits = 0
    while number + 1 >> bits:
        bits += 1
    return bits


def bits_needed(longest: int, slots: int, experts: int) -> int:
    """Bits of a number that says how much an expert is wanted, and which it is."""
    uses: int = _bits_of(AHEAD)
    return uses + _bits_of(longest * slots) + _bits_of(experts)


@jit
def _come(
    ids_ltk: NDArray[np.unsignedinteger],
    token: int,
    experts: int,
    ahead_x: NDArray[np.signedinteger],
    ring: int,
    use: int,
    uses_ne: NDArray[np.signedinteger],
) -> None:  # pragma: no cover
    """A token comes into sight: its experts' names into the ring (`experts` where there is none), its uses counted."""
    layers, _, slots = ids_ltk.shape
    for lane in range(layers):
        for slot in range(slots):
            expert = min(ids_ltk[lane, token, slot], experts)
            ahead_x[ring + slot * LANES + lane] = expert
            if expert < experts:
                uses_ne[lane, expert] += use


@jit
def _enter(
    ids_ltk: NDArray[np.unsignedinteger],
    token: int,
    experts: int,
    time: int,
    name_bits: int,
    use: int,
    uses_ne: NDArray[np.signedinteger],
    wanted_x: NDArray[np.signedinteger],
    asked_n: NDArray[np.int64],
) -> None:  # pragma: no cover
    """How much a token's experts are wanted after it; the first choice is the one used last."""
    layers, _, slots = ids_ltk.shape
    for lane in range(layers):
        for slot in range(slots):
            expert = ids_ltk[lane, token, slot]
            if expert < experts:
                uses_ne[lane, expert] -= use
                last = time + ((slots - 1 - slot) << name_bits)
                wanted_x[slot * LANES + lane] = uses_ne[lane, expert] + last + expert
                asked_n[lane] += 1
            else:
                wanted_x[slot * LANES + lane] = NOBODY


@jit
def _want_more(
    stack_x: NDArray[np.signedinteger],
    held: int,
    names: int,
    named_x: NDArray[np.signedinteger],
    at: int,
    use: int,
) -> None:  # pragma: no cover
    """Whoever of those held is named is used once more in what is in sight."""
    a, b, c, d, e, f, g, h = _eight(named_x, at)
    names_n, use_n = spread(stack_x, names, LANES), spread(stack_x, use, LANES)
    for place in range(0, held, LANES):
        there = load(stack_x, place, LANES)
        name = both(there, names_n)
        is_named = either(_is_one(name, a, b, c, d), _is_one(name, e, f, g, h))
        store(stack_x, place, plus(there, both(is_named, use_n)))


@jit
def _leave_by_name(
    stack_x: NDArray[np.signedinteger],
    held: int,
    names: int,
    named_x: NDArray[np.signedinteger],
    at: int,
    found_x: NDArray[np.signedinteger],
) -> None:  # pragma: no cover
    """Whoever is named leaves the stack, and is counted where it was."""
    a, b, c, d, e, f, g, h = _eight(named_x, at)
    names_n = spread(stack_x, names, LANES)
    for place in range(0, held, LANES):
        there = load(stack_x, place, LANES)
        name = both(there, names_n)
        is_named = either(_is_one(name, a, b, c, d), _is_one(name, e, f, g, h))
        store(found_x, place, minus(load(found_x, place, LANES), is_named))
        store(stack_x, place, either(there, is_named))


@jit
def _add_hits(
    found_x: NDArray[np.signedinteger],
    asked_n: NDArray[np.int64],
    room_lb: NDArray[np.integer],
    hits_lbn: NDArray[np.int64],
) -> None:  # pragma: no cover
    """What was asked for, and what was found within each room, to the counts."""
    layers, sizes = room_lb.shape
    for lane in range(layers):
        hits, place = 0, 0
        for size in range(sizes):
            while place < room_lb[lane, size]:
                hits += found_x[place * LANES + lane]
                place += 1
            hits_lbn[lane, size, 0] += asked_n[lane]
            hits_lbn[lane, size, 1] += hits
    found_x[:], asked_n[:] = 0, 0
