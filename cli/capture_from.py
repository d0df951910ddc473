"""`python -m app capture-from`: a corpus through llama.cpp, or through a server that runs already, as a study."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gatescope.routing.errors import OptionError, PromptError
from gatescope.routing.record import Document, RoutingRecord, joined

if TYPE_CHECKING:
    from gatescope.cache.study import StudyFolder
    from gatescope.studies.blocks import Share, Texts
    from gatescope.studies.capturing import Left, Plan, Progress

Route = Callable[[Sequence[Document]], Sequence[RoutingRecord]]
"""Records of documents, in their order; a document that is refused has none, or raises PromptError."""
_err = Console(stderr=True, soft_wrap=True)


def capture_from(
    where: Annotated[str, typer.Argument(help="A .gguf file, or the address of a vLLM or SGLang server.")],
    corpus: Annotated[str, typer.Argument(help="probe (the bundled texts), a file, a folder, or hub:owner/name.")],
    out: Annotated[Path, typer.Option(help="Folder of the study; one that was begun is gone on with.")],
    model: Annotated[str, typer.Option(help="Of a server: folder or hub id whose config.json says the layers.")] = "",
    served: Annotated[str, typer.Option(help="Of a server of several models: the name of the one to ask.")] = "",
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    bad: Annotated[str, typer.Option(help="A text that cannot be read, or is refused: stop or skip.")] = "stop",
    shard: Annotated[str, typer.Option(help="This machine's part of the work, such as 2/8.")] = "1/1",
) -> None:
    """Run a corpus through llama.cpp, or through a server, and keep the routing like any other study."""
    from gatescope.cli.capture import going_on
    from gatescope.cli.main import errors_shown

    with errors_shown(), going_on(out):
        from gatescope.cache.study import StudyFolder
        from gatescope.cli.capture import corpus_of, tell
        from gatescope.hooks import CaptureOptions
        from gatescope.studies.blocks import Share
        from gatescope.studies.capturing import Plan

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        asks_server = where.startswith(("http://", "https://"))
        if asks_server:
            route, made = _server(where, model, served, new_tokens, skip=bad == "skip")
        else:
            route, made = _gguf(where, new_tokens)
        plan = Plan(options=CaptureOptions(max_new_tokens=new_tokens), detail="ids" if asks_server else "weights")
        folder = StudyFolder.create(out, {"corpus": corpus, "engine": where, **made, "detail": plan.detail})
        texts = corpus_of(corpus, bad)
        with _err.status(f"asking {where}"):
            done = capture_through(route, texts, folder, plan, share=Share.parse(shard), skip=bad == "skip")
        tell(folder, done, texts)


def capture_through(
    route: Route, documents: Iterable[Document], folder: "StudyFolder", plan: "Plan", *, share: "Share", skip: bool
) -> "Progress":
    """As `capture_study`, through anything that gives records: every block that is this share's and not yet whole."""
    from gatescope.studies.blocks import Seen, cut
    from gatescope.studies.capturing import Progress, check_end, is_there, packed

    there, seen, started = folder.finished(), Seen(), time.monotonic()
    blocks = found = tokens = left_out = 0
    for texts in cut(documents, seen):
        blocks += 1
        if is_there(there, texts):
            found += 1
        elif share.has(texts.number):
            record, left = _routed(route, texts, skip=skip)
            block, parts = packed(texts, record, left, plan)
            folder.write(block, parts)
            tokens, left_out = tokens + block.tokens, left_out + len(left.left_out)
    check_end(there, blocks)
    folder.end(blocks)
    return Progress(seen, blocks, found, tokens, left_out, time.monotonic() - started)


def _routed(route: Route, texts: "Texts", *, skip: bool) -> "tuple[RoutingRecord | None, Left]":
    """A block's routing, and which of its documents were refused. Errors: PromptError, unless those are skipped."""
    from gatescope.studies.blocks import name_of
    from gatescope.studies.capturing import Left

    refused: list[tuple[str, str]] = []
    try:
        records = list(route(texts.documents))
    except PromptError:
        if not skip:
            raise
        records = []
        for document in texts.documents:
            try:
                records += route([document])
            except PromptError as reason:
                refused.append((name_of(document), f"{reason.found}; needs {reason.expected}"))
    has = {document.id for record in records for document in record.documents}
    told = {name for name, _ in refused}
    refused += [
        (name_of(each), "refused by the server") for each in texts.documents
        if each.id not in has and name_of(each) not in told
    ]  # fmt: skip
    return joined(records) if records else None, Left(tuple(refused))


def _gguf(path: str, new_tokens: int) -> tuple[Route, dict[str, Any]]:
    from gatescope.engines.llamacpp import open_gguf, stream_gguf

    opened = open_gguf(path)
    made = asdict(opened.provenance())
    del made["device"]
    return lambda documents: list(stream_gguf(opened, documents, max_new_tokens=new_tokens)), made


def _server(address: str, model: str, served: str, new_tokens: int, *, skip: bool) -> tuple[Route, dict[str, Any]]:
    from gatescope.engines.server import capture_from_server
    from gatescope.hooks.outline import outline

    if not model:
        raise OptionError(
            f"a server at {address} and no --model",
            expected="the folder or hub id of the model it serves: its config.json says the layers, which a server does"
            " not; no weights are read",
            do="add --model",
        )
    layers = outline(model)
    options: dict[str, Any] = {"layers": layers, "model": served, "max_new_tokens": new_tokens}
    options["on_fault"] = "skip" if skip else "stop"
    made = {"model": served or model, "new_tokens": new_tokens, "layers": [asdict(rule) for rule in layers]}
    return lambda documents: list(capture_from_server(address, documents, **options)), made
