"""`python -m app capture`: a corpus of any length through a model into a folder, measured as often as one likes."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from routing.errors import OptionError
from routing.record import Document

if TYPE_CHECKING:  # torch takes seconds to import
    from app.study.blocks import Seen, Share
    from app.study.capturing import Plan, Progress
    from cache.study import StudyFolder
    from hooks import LoadedModel

PROBE = "probe"
_out = Console(soft_wrap=True)
_err = Console(stderr=True, soft_wrap=True)


def capture(
    corpus: Annotated[str, typer.Argument(help="probe (the bundled texts), a file, a folder, or hub:owner/name.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; one that was begun is gone on with.")],
    model: Annotated[str, typer.Option(help="A bundled model's name, a folder or a hub id.")] = "",
    detail: Annotated[str, typer.Option(help="counts, ids or weights: what is kept of every token.")] = "weights",
    scores: Annotated[float, typer.Option(min=0, max=1, help="Share of documents to keep all scores of.")] = 0.0,
    long: Annotated[str, typer.Option(help="A text too long for the model: split, skip or stop.")] = "split",
    bad: Annotated[str, typer.Option(help="A row that cannot be read: stop or skip.")] = "stop",
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    shard: Annotated[str, typer.Option(help="This machine's part of the work, such as 2/8.")] = "1/1",
    engine: Annotated[str, typer.Option(help="local, or ray: on every machine of a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=0, help="Of ray; 0: one for each GPU, or one.")] = 0,
    batch_tokens: Annotated[int, typer.Option(min=0, help="Places in a batch; 0: find out.")] = 0,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or spread.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
) -> None:
    """Run a corpus through a model and keep its routing. Stopped at any moment, the same command goes on."""
    from app.cli import errors_shown

    with errors_shown():
        from app.settings import load_settings, model_source
        from app.study.blocks import Share
        from app.study.capturing import Plan
        from cache.study import StudyFolder
        from hooks import CaptureOptions, load_model

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        given = {"model": model or None, "device": device, "dtype": dtype, "revision": revision}
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        texts, share = _texts(corpus, bad), Share.parse(shard)
        seen = _counted(texts) if not corpus.startswith("hub:") else None
        loaded = load_model(
            model_source(settings.model), revision=settings.revision, device=settings.device, dtype=settings.dtype
        )
        plan = Plan(
            options=CaptureOptions(max_new_tokens=new_tokens),
            detail=detail,  # type: ignore[arg-type]  # Plan says what it may be
            scores=scores,
            long=long,  # type: ignore[arg-type]
            batch_tokens=batch_tokens or _batch_tokens(loaded, out, texts),
        )
        folder = StudyFolder.create(out, plan.recipe(loaded, corpus))
        _out.print(_sizes(loaded, plan, seen), highlight=False, markup=False)
        if engine == "ray":
            from app.study.cluster import capture_on_cluster

            done = capture_on_cluster(settings, texts, folder, plan, share=share, workers=workers)
        elif engine == "local":
            done = _run(loaded, texts, folder, plan, share, seen)
        else:
            raise OptionError(f"--engine {engine}", expected="local or ray", do="choose one of the two")
        _tell(folder, done, texts)


def _texts(corpus: str, bad: str) -> Iterable[Document]:
    """Documents that can be read again and again, one at a time."""
    from corpora import open_corpus, probe

    return probe() if corpus == PROBE else open_corpus(corpus, bad="skip" if bad == "skip" else "refuse")


def _counted(texts: Iterable[Document]) -> "Seen":
    """How many documents and characters there are, and, before anything runs, whether all can be read."""
    from app.study.blocks import Seen

    seen = Seen()
    with _err.status("reading the corpus"):
        for document in texts:
            seen.add(document)
    return seen


def _batch_tokens(model: "LoadedModel", out: Path, texts: Iterable[Document]) -> int:
    """As many as the study was begun with, or as are found to be best."""
    from app.study.blocks import Seen, cut
    from cache.study import StudyFolder, is_study
    from hooks import find_batch_tokens

    if is_study(out):
        return int(StudyFolder.open(out).recipe().get("batch_tokens", 0)) or 1024
    fitting = [
        document
        for document in next(cut(texts, Seen())).documents
        if document.text.strip() and model.count_tokens(document.text) <= model.max_tokens
    ]
    return find_batch_tokens(model, fitting[:64]) if fitting else 1024


def _sizes(model: "LoadedModel", plan: "Plan", seen: "Seen | None") -> str:
    """What the study will take on the disk, said before it begins: raw bytes, which compression makes fewer."""
    slots = sum(rule.k for rule in model.layers)
    wide = 2 if max(rule.experts for rule in model.layers) > 255 else 1
    every = {"counts": 0, "ids": wide * slots, "weights": (wide + 2) * slots + (6 + wide) * len(model.layers)}
    bytes_a_token = every[plan.detail] + (25 if plan.detail != "counts" else 0)
    scores = plan.scores * 2 * sum(rule.experts for rule in model.layers)
    least = sum(math.log2(math.comb(rule.experts, rule.k)) for rule in model.layers) / 8
    said = "counts: tallies only"
    if plan.detail != "counts":
        said = f"{plan.detail}: {bytes_a_token + scores:,.0f} bytes a token before compression, beside the tallies"
        said += f" (ids alone cannot take less than {least:,.0f})"
    if seen is not None:
        said += f"\n{seen.documents:,} documents, {seen.characters:,} characters, of which {seen.twice:,} texts twice"
    return said + f"; batches of {plan.batch_tokens:,} places"


def _run(
    model: "LoadedModel",
    texts: Iterable[Document],
    folder: "StudyFolder",
    plan: "Plan",
    share: "Share",
    seen: "Seen | None",
) -> "Progress":
    """Capture with a bar: documents, tokens a second, and the time that is left."""
    from app.study.capturing import capture_study

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=_err, transient=True) as bars:
        task = bars.add_task("capturing", total=seen.characters if seen else None, said="")

        def tell(progress: "Progress") -> None:
            speed = progress.tokens / max(progress.seconds, 1e-9)
            said = f"{progress.seen.documents:,} documents, {speed:,.0f} tokens/s"
            bars.update(task, completed=progress.seen.characters, said=said)

        return capture_study(model, iter(texts), folder, plan, share=share, on_progress=tell)


def _tell(folder: "StudyFolder", done: "Progress", texts: Iterable[Document]) -> None:
    """What is there, and everything that is not."""
    blocks = folder.finished()
    tokens, documents = (sum(getattr(block, name) for block in blocks.values()) for name in ("tokens", "documents"))
    size = sum(size for block in blocks.values() for _, size in block.parts.values())
    _out.print(
        f"{folder.folder}: {len(blocks)} of {done.blocks} blocks, {documents:,} documents, {tokens:,} tokens, "
        f"{size:,} bytes ({size / max(tokens, 1):.1f} a token)",
        highlight=False,
        markup=False,
    )
    _out.print(f"this run: {done.tokens:,} tokens in {done.seconds:.1f} s; {done.there} blocks were there already")
    left_out = [entry for block in blocks.values() for entry in block.left_out]
    for name, reason in left_out[:20]:
        _out.print(f"left out {name}: {reason}", highlight=False, markup=False)
    if len(left_out) > 20:
        _out.print(
            f"… and {len(left_out) - 20:,} more, in {folder.blocks_folder}/*.json", highlight=False, markup=False
        )
    report = getattr(texts, "report", None)
    for problem in report.problems if report else ():
        _out.print(f"not read {problem.place}: {problem.found}", highlight=False, markup=False)
    for name in done.seen.where:
        _out.print(f"a text for the second time: {name}", highlight=False, markup=False)
