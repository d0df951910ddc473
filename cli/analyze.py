"""`gatescope analyze`: a corpus through a model, and every metric of it as tables and one page."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gatescope.cli.capture import PROBE, corpus_of, note
from gatescope.cli.output import Name, ProveAgain, command_line, errors_shown, name_of, say_where, stderr, stdout
from gatescope.routing.record import Document

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.cache.study import StudyFolder
    from gatescope.server.landing import Asked, Landing
    from gatescope.server.settings import Settings
    from gatescope.studies.run_blocks import Progress as Captured

Tell = Callable[[str, int, int], None]
CAPTURING = ".gatescope-capture-"
"""How the folder is called, beside the output, that texts are captured into while they are analysed."""


class Csv(StrEnum):
    """Which tables are written as CSV, beside Parquet."""

    SMALL = "small"
    ALL = "all"
    NONE = "none"


def analyze(
    corpus: Annotated[
        str,
        typer.Argument(help="A captured study (its folder, name or id), or probe, a file, a folder, hub:owner/name."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, results.npz, report.html … (default: in the workspace).")
    ] = None,
    name: Name = "",
    model: Annotated[str, typer.Option(help="A bundled model's name, a folder or a hub id.")] = "",
    metrics: Annotated[str, typer.Option(help="Metrics by name, with commas between (default: all).")] = "",
    preset: Annotated[str, typer.Option(help="The metrics of a paper: olmoe.")] = "",
    by: Annotated[str, typer.Option(help="Labels to compare by.")] = "domain,language",
    resamples: Annotated[int, typer.Option(min=0, help="Of documents, for intervals and nulls.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Most documents to read; 0: all.")] = 0,
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    logits: Annotated[
        bool, typer.Option(help="Keep all router scores while counting: more metrics, more memory.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a captured study that is not whole: analyse the blocks that are.")
    ] = False,
    csv: Annotated[
        Csv, typer.Option(help="Which tables are written as CSV beside Parquet: those of 50,000 rows or fewer, or all.")
    ] = Csv.SMALL,
    counts_only: Annotated[bool, typer.Option(help="Write nothing that holds text or tokens.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or spread.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    prove_again: ProveAgain = False,
) -> None:
    """Run a corpus through a model and write every metric of its routing, with nulls and intervals.

    Without --out the results stand in the Library of the dashboard, beside the routes they are of.
    """
    with errors_shown():
        from gatescope.analysis.registry import OLD_NAMES
        from gatescope.server.landing import Asked
        from gatescope.server.settings import settings_with
        from gatescope.studies.compute import Chosen, study_of_folder
        from gatescope.studies.wholeness import part_of
        from gatescope.studies.write import write_study

        settings = settings_with(model=model or None, device=device, dtype=dtype, prove_again=prove_again or None)
        for metric in _words(metrics):
            if metric in OLD_NAMES:
                sentence = f"{metric} is now called {OLD_NAMES[metric]}; the old name works until 0.3"
                stderr.print(sentence, highlight=False)
        chosen = Chosen(
            metrics=_words(metrics),
            preset=preset,
            by=_words(by),
            resamples=resamples,
            seed=seed,
            words=not counts_only,
        )
        options = {"max_new_tokens": new_tokens, "logits": logits}
        asked = Asked(out=out, name=name, suggested=f"{name_of(corpus)}-{name_of(settings.model)}")
        with (
            _progress() as tell,
            _source(settings, corpus, asked, limit, options, tell) as (folder, is_captured, place),
        ):
            place.doing.metrics_follow = True

            def tell_both(what: str, done: int, total: int) -> None:
                tell(what, done, total)
                place.doing.begin(what)
                place.doing.metrics, place.doing.of_metrics = done, total

            found = study_of_folder(folder, chosen, partial=partial, on_progress=tell_both)
            named = str(folder.recipe()["corpus"])
            if found.lacks:
                stderr.print(part_of(found.lacks), highlight=False, markup=False)
            place.doing.is_writing = True
            files = write_study(
                found,
                place.analysed,
                counts_only=counts_only,
                csv=csv.value,
                model=found.tally.provenance.model if is_captured else settings.model,
                corpus=Path(named).name if is_captured else corpus,
                on_file=place.doing.begin,
            )
        whole = found.tally
        stdout.print(f"{whole.documents:,} documents, {int(whole.table('tokens').sum()):,} tokens; {len(files)} tables")
        stdout.print(f"report   {place.analysed / 'report.html'}", highlight=False, markup=False)
        say_where(settings, place.id)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


class _Source(NamedTuple):
    """The routes to analyse, whether they were captured before, and where the results go."""

    folder: "StudyFolder"
    is_captured: bool
    place: "Landing"


@contextmanager
def _source(
    settings: "Settings", corpus: str, asked: "Asked", limit: int, options: dict[str, Any], tell: Tell
) -> Iterator[_Source]:
    """The captured study of that path or name; or the texts of that name, captured first.

    Texts that are analysed into a folder of the user's own are captured into one that goes at the end.
    """
    from gatescope.cache.study import StudyFolder
    from gatescope.cache.temporary import sweep_folders, working_folder
    from gatescope.server.landing import Landing, landing, working_on
    from gatescope.server.places import study_in
    from gatescope.studies.out_folder import check_out

    out, entry = asked.out, _entry(settings, corpus)
    if out is not None:
        check_out(out)
    if entry is not None and out is None:
        listed = _listed(settings, entry, asked.name)
        with working_on(listed, what="gatescope analyze") as place:
            yield _Source(study_in(listed), True, place)
    elif entry is not None and out is not None:
        yield _Source(StudyFolder.open(_routes(entry)), True, Landing(captured=out, analysed=out))
    elif out is None:
        command = {"what": "gatescope analyze", "command": command_line(), "model": settings.model}
        with landing(settings, asked, **command) as place:
            texts = islice(corpus_of(corpus, "stop"), limit or None)
            yield _Source(_run(settings, texts, place.captured, corpus, options, tell, place), False, place)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep_folders(out.parent, prefix=CAPTURING)
        with working_folder(out.parent, prefix=CAPTURING, name=out.name) as made:
            texts = islice(corpus_of(corpus, "stop"), limit or None)
            place = Landing(captured=made / "capture", analysed=out)
            yield _Source(_run(settings, texts, place.captured, corpus, options, tell, place), False, place)


def _entry(settings: "Settings", corpus: str) -> Path | None:
    """The folder of a captured study, or of an entry of the Library that has one; None where texts are meant."""
    from gatescope.cache.study import is_study
    from gatescope.cache.workspace import CAPTURED
    from gatescope.server.places import find_named

    path = Path(corpus)
    if is_study(path) or is_study(path / CAPTURED):
        return path
    if corpus == PROBE or corpus.startswith("hub:") or path.exists():
        return None
    return find_named(settings.workspace, corpus)


def _routes(entry: Path) -> Path:
    """The routes of a study's folder, or of an entry."""
    from gatescope.cache.study import is_study
    from gatescope.server.places import captured_in

    return entry if is_study(entry) else captured_in(entry)


def _listed(settings: "Settings", entry: Path, name: str) -> Path:
    """The entry of this workspace that stands for a study, made where there is none. Errors: as `open_path`."""
    from gatescope.cache.workspace import STUDIES
    from gatescope.server.entering import open_path

    return settings.workspace / STUDIES / open_path(settings.workspace, entry, name=name)


def _run(
    settings: "Settings",
    documents: Iterable[Document],
    place: Path,
    corpus: str,
    options: dict[str, Any],
    tell: Tell,
    landed: "Landing",
) -> "StudyFolder":
    """Load the model and capture; texts that were cut or left out are named on stderr."""
    from gatescope.hooks import CaptureOptions
    from gatescope.server.settings import load_chosen
    from gatescope.studies.capturing import capture_texts

    tell(f"loading {settings.model}", 0, 0)
    landed.doing.begin("loading the model")

    def tell_done(done: "Captured") -> None:
        tell(f"capturing: {done.seen.documents:,} documents, {done.tokens:,} tokens", 0, 0)
        landed.doing.what = "capturing"
        note(landed.doing, done, None)

    model = load_chosen(settings, on_stage=lambda stage: tell(stage, 0, 0))
    folder = capture_texts(
        model,
        documents,
        place,
        CaptureOptions(**options),
        corpus=corpus,
        on_progress=tell_done,
    )
    for block in folder.finished().values():
        for name, why in (*block.left_out, *block.was_cut):
            stderr.print(f"{name}: {why}", highlight=False, markup=False)
    return folder


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar on stderr, and how to tell it what is done."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(
            task, description=what[:90], completed=done, total=total or None
        )
