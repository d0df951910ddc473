"""Documents by number as an address writes them: `documents:0-2.4`."""

from collections.abc import Sequence


def slice_of(numbers: Sequence[int]) -> str:
    """The slice that names documents by number.

    >>> slice_of([4, 0, 1, 2, 9])
    'documents:0-2.4.9'
    """
    return "documents:" + ".".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs(numbers))


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers in order, as first and last of those that follow one another.

    >>> runs([4, 0, 1, 2])
    [(0, 2), (4, 4)]
    """
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def numbers_in(ranges: str, documents: int) -> list[int]:
    """The numbers that ranges such as `0-2.7` name, of so many documents: in order, each once.

    >>> numbers_in("7.1-99999.0-2", 5)
    [0, 1, 2, 3, 4]
    """
    ends = [part.partition("-") for part in ranges.split(".")]
    found, following = list[int](), 0
    for first, last in sorted((int(first), int(last or first)) for first, _, last in ends):
        found.extend(range(max(first, following), min(last + 1, documents)))
        following = max(following, last + 1)
    return found
