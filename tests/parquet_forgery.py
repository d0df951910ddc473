"""Parquet files that say another number of rows than they hold."""

import struct
from pathlib import Path


def forge_rows(path: Path, rows: int, said: int, *, where: str) -> None:
    """Make a file of so many rows say another number: in its `first` place (the file's own), its `last` (the row
    group's), or in `all`. A footer holds whole numbers in zigzag form, seven bits a byte."""
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[-8:-4])
    footer, true, false = data[-8 - length : -8], _spelt(rows), _spelt(said)
    assert true in footer
    if where == "last":
        before, _, after = footer.rpartition(true)
        footer = before + false + after
    else:
        footer = footer.replace(true, false, 1 if where == "first" else -1)
    path.write_bytes(data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1")


def _spelt(number: int) -> bytes:
    rest, out = 2 * number, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])
