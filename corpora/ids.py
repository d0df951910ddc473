"""Ids that name one document each."""

from gatescope.corpora.place import Place


class Ids:
    """The ids said so far, the first `limit` of them: those beyond are not compared, so that memory is bounded."""

    def __init__(self, limit: int) -> None:
        self._first: dict[int, Place] = {}
        self._limit = limit

    def check(self, id: str, place: Place) -> None:
        """Remember this id. Errors: RowError when it was said before."""
        key = hash(id)  # 64 bits with a random key: of a million ids, two agree by chance once in 37 million runs
        before = self._first.get(key)
        if before is not None:
            where = f"on {before.unit} {before.line}" if before.path == place.path else f"in {before}"
            found, do = f"id {id!r}, already {where}", "give one of the two another id"
            raise place.error(found, expected="each id once", do=do, reason="id twice")
        if len(self._first) < self._limit:
            self._first[key] = place
