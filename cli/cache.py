"""`gatescope cache`: what captures are kept, whether they are intact, what may go, and their routes as a table."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatescope.cli.output import errors_shown, stdout
from gatescope.routing.errors import CaptureNotFoundError, GatescopeError, StoreError

if TYPE_CHECKING:  # pyarrow takes a moment to import
    from gatescope.cache.store import Entry, Store

commands = typer.Typer(
    no_args_is_help=True, help="Look after the stored captures: list, verify, clean, remove, export."
)

_WORDS = 48

Folder = Annotated[Path | None, typer.Option("--dir", help="Folder of the captures (default: the setting).")]


@commands.command("ls")
def list_captures(
    folder: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the list as JSON to stdout.")] = False,
) -> None:
    """List the captures, the one used last first; a full store removes from the end of this list."""
    with errors_shown(as_json):
        entries = sorted((store := _store(folder)).ids(), key=lambda entry: entry.used, reverse=True)
        rows = [_row(store, entry) for entry in entries]
        if as_json:
            typer.echo(json.dumps(rows))
            return
        _say(f"{'id':16}  {'size':>9}  {'written':16}  {'last used':16}  {'tokens':>9}  model, first words")
        for row in rows:
            about = f"unreadable: {row['problem']}" if row["problem"] else f"{row['model']}  {row['text']}"
            times = f"{_minute(row['written'])}  {_minute(row['used'])}"
            _say(f"{row['id']}  {_size(row['size_bytes']):>9}  {times}  {row['tokens']:>9,}  {about}")
        _say(f"{len(rows)} captures, {_size(sum(row['size_bytes'] for row in rows))}, in {store.folder}")


@commands.command()
def verify(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Studies, captures, shards or folders of captures (default: the store).")
    ] = None,
    folder: Folder = None,
) -> None:
    """Read every byte: checksums, and whether it decodes. Damage is named, and set aside in a store or a study.

    The exit code is 1 where anything is not intact.
    """
    from gatescope.server.verifying import verified

    wrong = checked = 0
    with errors_shown():
        for what, problem in verified(paths or [_folder(folder)]):
            checked += 1
            if problem is not None:
                wrong += 1
                _say(f"{what}: {problem}")
        _say(f"{checked} checked, {wrong} not intact")
    if wrong:
        raise typer.Exit(1)


@commands.command()
def gc(
    quota_bytes: Annotated[
        int | None, typer.Option(min=0, help="Also remove what was used longest ago, until this is enough.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    folder: Folder = None,
) -> None:
    """Remove what writers left behind, what was set aside more than a day ago, and what a quota has no room for."""
    with errors_shown():
        from gatescope.cache.disk import explained
        from gatescope.cache.eviction import RECENT_SECONDS, removable, remove, used_bytes

        place = _folder(folder)
        with explained(place):
            gone = removable(place, quota_bytes=quota_bytes)
            gone = gone if dry_run else remove(place, gone)
            kept = used_bytes(place) - (sum(each.found.size_bytes for each in gone) if dry_run else 0)
        for each in gone:
            _say(f"{each.found.path.relative_to(place)}  {_size(each.found.size_bytes)}  {each.why}")
        would = "would be removed" if dry_run else "removed"
        freed = _size(sum(each.found.size_bytes for each in gone))
        _say(f"{len(gone)} files {would}, {freed}; {_size(kept)} in {place}")
        if quota_bytes is not None and kept > quota_bytes:
            _say(f"{_size(kept - quota_bytes)} too much stay: used in the last {RECENT_SECONDS // 60} minutes")


@commands.command("rm")
def remove_captures(
    ids: Annotated[list[str], typer.Argument(help="Ids of captures, in full.")], folder: Folder = None
) -> None:
    """Remove captures for good, without asking. Where one of the ids is unknown, nothing is removed."""
    with errors_shown():
        store = _store(folder)
        missing = [id for id in ids if not store.has(id)]
        if missing:
            raise CaptureNotFoundError(
                f"no capture {', '.join(missing)} in {store.folder}; nothing was removed",
                expected="ids of stored captures",
                do="run: gatescope cache ls",
            )
        for id in dict.fromkeys(ids):
            store.remove(id)
            _say(f"{id}  removed")


@commands.command()
def export(
    capture: Annotated[str, typer.Argument(help="Id of a stored capture, or a file of one: .gsr, a shard of a study.")],
    out: Annotated[Path, typer.Argument(help="The table: a name that ends in .parquet or .csv.")],
    folder: Folder = None,
) -> None:
    """Write the routes of a capture in the long form, one row for each token, layer and slot, for SQL."""
    with errors_shown():
        from gatescope.cache.folder import is_capture_id
        from gatescope.cache.long_form import export_long
        from gatescope.server.verifying import check_in_folder

        stored = is_capture_id(capture) and not Path(capture).exists()
        if not stored:
            check_in_folder(Path(capture))
        try:
            rows = export_long(_store(folder).path(capture) if stored else Path(capture), out)
        except FileNotFoundError:
            raise CaptureNotFoundError(
                f"no capture {capture}",
                expected="the id of a stored capture, or a file of one",
                do="check the path, or run: gatescope cache ls",
            ) from None
        _say(f"{rows:,} rows  {_size(out.stat().st_size)}  {out}")


def _folder(given: Path | None) -> Path:
    """The folder to look into, which is never made by looking. Errors: StoreError where there is none."""
    from gatescope.server.settings import load_settings

    folder = given or load_settings().workspace
    if not folder.is_dir():
        raise StoreError(
            f"no folder {folder}", expected="a folder of captures", do="capture something first, or give another --dir"
        )
    return folder


def _store(given: Path | None) -> "Store":
    from gatescope.cache.store import Store

    return Store(_folder(given))


def _row(store: "Store", entry: "Entry") -> dict[str, Any]:
    """What the list says of one capture; only the end of its file is read, and that is no use of it."""
    from gatescope.cache.partial import PartialRecord

    row: dict[str, Any] = {"id": entry.id, "size_bytes": entry.size_bytes}
    row |= {"written": entry.written.isoformat(), "used": entry.used.isoformat()}
    row |= {"model": "", "tokens": 0, "documents": 0, "text": "", "problem": ""}
    try:
        with PartialRecord(store.path(entry.id)) as partial:
            documents = partial.documents
            text = _words(documents[0].text) if documents else ""
            made = {"model": _words(partial.provenance.model), "tokens": partial.tokens, "documents": len(documents)}
            return row | made | {"text": text}
    except (GatescopeError, OSError) as error:
        return row | {"problem": error.found if isinstance(error, GatescopeError) else str(error)}


def _say(line: str) -> None:
    stdout.print(line, markup=False, highlight=False)


def _words(text: str) -> str:
    """The beginning of a text, on one line, without anything a terminal would obey."""
    seen = " ".join(text[: 4 * _WORDS].split())
    plain = "".join(letter if letter.isprintable() else "�" for letter in seen)
    return plain if len(plain) <= _WORDS else plain[: _WORDS - 1] + "…"


def _size(number: int) -> str:
    """Bytes as people read them."""
    for unit, worth in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= worth:
            return f"{number / worth:.1f} {unit}"
    return f"{number} B"


def _minute(time: str) -> str:
    """A time by the clock of this place."""
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
