"""`gatescope analyze`: a corpus through a model, and every metric of it as tables and one page."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gatescope.cli.capture import corpus_of
from gatescope.cli.output import ProveAgain, errors_shown, stderr, stdout
from gatescope.routing.record import Document

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.cache.study import StudyFolder
    from gatescope.server.settings import Settings

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
        str, typer.Argument(help="probe (the bundled texts), a file, a folder, hub:owner/name, or a captured study.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, results.npz, study.json, tally.npz and report.html.")],
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
    """Run a corpus through a model and write every metric of its routing, with nulls and intervals."""
    with errors_shown():
        from gatescope.analysis.registry import OLD_NAMES
        from gatescope.cache.study import is_study
        from gatescope.server.settings import settings_with
        from gatescope.studies.compute import Chosen, study_of_folder
        from gatescope.studies.out_folder import check_out
        from gatescope.studies.wholeness import part_of
        from gatescope.studies.write import write_study

        settings = settings_with(model=model or None, device=device, dtype=dtype, prove_again=prove_again or None)
        for name in _words(metrics):
            if name in OLD_NAMES:
                stderr.print(f"{name} is now called {OLD_NAMES[name]}; the old name works until 0.3", highlight=False)
        chosen = Chosen(
            metrics=_words(metrics),
            preset=preset,
            by=_words(by),
            resamples=resamples,
            seed=seed,
            words=not counts_only,
        )
        check_out(out)
        options = {"max_new_tokens": new_tokens, "logits": logits}
        with _progress() as tell, _captured(corpus, out, limit, settings, options, tell) as folder:
            found = study_of_folder(folder, chosen, partial=partial, on_progress=tell)
            named = folder.recipe()["corpus"]
            if found.lacks:
                stderr.print(part_of(found.lacks), highlight=False, markup=False)
            files = write_study(
                found,
                out,
                counts_only=counts_only,
                csv=csv.value,
                model=found.tally.provenance.model if is_study(corpus) else settings.model,
                corpus=Path(str(named)).name if is_study(corpus) else corpus,
            )
        whole = found.tally
        stdout.print(f"{whole.documents:,} documents, {int(whole.table('tokens').sum()):,} tokens; {len(files)} tables")
        stdout.print(f"report   {out / 'report.html'}", highlight=False, markup=False)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@contextmanager
def _captured(
    corpus: str,
    out: Path,
    limit: int,
    settings: "Settings",
    options: dict[str, Any],
    tell: Tell,
) -> Iterator["StudyFolder"]:
    """The captured study of that name; or the texts of that name, captured into a folder that goes at the end."""
    from gatescope.cache.study import StudyFolder, is_study
    from gatescope.cache.temporary import sweep_folders, working_folder

    if is_study(corpus):
        yield StudyFolder.open(corpus)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep_folders(out.parent, prefix=CAPTURING)
    with working_folder(out.parent, prefix=CAPTURING, name=out.name) as place:
        texts = corpus_of(corpus, "stop")
        yield _run(settings, islice(texts, limit or None), place / "capture", corpus, options, tell)


def _run(
    settings: "Settings",
    documents: Iterable[Document],
    place: Path,
    corpus: str,
    options: dict[str, Any],
    tell: Tell,
) -> "StudyFolder":
    """Load the model and capture; texts that were cut or left out are named on stderr."""
    from gatescope.hooks import CaptureOptions
    from gatescope.server.settings import load_chosen
    from gatescope.studies.capturing import capture_texts

    tell(f"loading {settings.model}", 0, 0)
    model = load_chosen(settings, on_stage=lambda stage: tell(stage, 0, 0))
    folder = capture_texts(
        model,
        documents,
        place,
        CaptureOptions(**options),
        corpus=corpus,
        on_progress=lambda done: tell(f"capturing: {done.seen.documents:,} documents, {done.tokens:,} tokens", 0, 0),
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
