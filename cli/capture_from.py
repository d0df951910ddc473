"""`gatescope capture-from`: a corpus through llama.cpp, or through a server that runs already, as a study."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatescope.cli.output import errors_shown, going_on, stderr
from gatescope.routing.errors import OptionError

if TYPE_CHECKING:
    from gatescope.studies.other_engines import Route


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
    with errors_shown(), going_on(out):
        from gatescope.cache.study import StudyFolder
        from gatescope.cli.capture import corpus_of, tell
        from gatescope.hooks import CaptureOptions
        from gatescope.studies.blocks import Share
        from gatescope.studies.other_engines import capture_through
        from gatescope.studies.plan import Plan

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
        with stderr.status(f"asking {where}"):
            done = capture_through(route, texts, folder, plan, share=Share.parse(shard), skip=bad == "skip")
        tell(folder, done, texts)


def _gguf(path: str, new_tokens: int) -> "tuple[Route, dict[str, Any]]":
    from gatescope.engines.llamacpp import open_gguf, stream_gguf

    opened = open_gguf(path)
    made = asdict(opened.provenance())
    del made["device"]
    return lambda documents: list(stream_gguf(opened, documents, max_new_tokens=new_tokens)), made


def _server(address: str, model: str, served: str, new_tokens: int, *, skip: bool) -> "tuple[Route, dict[str, Any]]":
    from gatescope.engines.server import capture_from_server
    from gatescope.hooks.loading.outline import outline

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
