"""A model from a folder or the hub, onto a device, in a dtype, with its routers found and proven."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from gatescope.hooks.layers.probing import PROBE_TOKENS, forward, input_device, probe_inputs
from gatescope.hooks.loading.config_limits import check_config
from gatescope.hooks.loading.model import LoadedModel
from gatescope.hooks.loading.model_class import building, model_class
from gatescope.hooks.loading.proofs import keep, made_with, recall
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.loading.selfcheck import check
from gatescope.hooks.loading.threads import Threads
from gatescope.hooks.loading.unweighted import size_before_download
from gatescope.hooks.loading.weights import (
    check_fingerprint,
    check_memory,
    check_weights,
    fingerprint,
    free_memory,
    resolve,
)
from gatescope.routing.errors import ModelMemoryError, ModelNotFoundError, OptionError, WeightsError

SPREAD = "spread"
DEVICES = ("auto", "cpu", "cuda", "mps", SPREAD)
DTYPES = ("auto", "float32", "bfloat16", "float16")
disable_progress_bar()  # a library draws no bars on the terminal of the program that uses it
Stage = Callable[[str], object]
READ_SPEED = 200e6  # bytes a second that transformers reads on a small machine with a common disk, roughly
SMALL = 2 * 2**30  # bytes of float32 weights below which a CPU computes in float32: exact, and no slower


def silent(_stage: str) -> None:
    """Told what is being done where nobody wants to know."""


def load_model(
    name: str | Path,
    *,
    revision: str = "",
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    proofs: Path | None = None,
    prove_again: bool = False,
    threads: int = 0,
    on_stage: Stage = silent,
) -> LoadedModel:
    """Load a causal language model, find its routers, install the hooks and run the self-check.

    `name` is a folder written by `save_pretrained` or a hub id; `revision` a branch, tag or commit of the latter.
    `device` is auto, cpu, cuda (or cuda:1 …), mps, or spread (over every device, and beyond that memory and disk).
    `dtype` is auto (as stored; float32 for small models on a CPU), float32, bfloat16 or float16. Code that comes with a
    model is never executed unless `trust_remote_code` is set.
    `proofs` is a folder where what was found and proven is kept, and where it is looked for first, unless
    `prove_again`; None: it is found and proven each time. `threads` of a CPU to compute on; 0: as many as a short
    measurement finds best, and again later where passes become slow. `on_stage` is told in words what is being done.
    Errors: ModelNotFoundError, ModelAccessError, WeightsError, ModelMemoryError, DenseModelError, RouterOutputError.
    """
    place = choose_device(device)
    on_stage(f"looking for {name}")
    ahead = size_before_download(str(name), revision)
    if ahead is not None:
        size = ahead.parameters * choose_dtype(dtype, place, ahead.parameters, ahead.stored).itemsize
        if device != SPREAD:
            check_memory(size, place, str(name))
        on_stage(_about_to_read("downloading", str(name), ahead.parameters, size, place))
    folder = resolve(str(name), revision)
    check_config(folder.path)
    files = check_weights(folder.path)
    on_stage(f"checking the files of {folder.name}")
    digest = fingerprint(folder.path, files.paths)
    check_fingerprint(folder.path, digest)
    number = choose_dtype(dtype, place, files.parameters, files.stored)
    if device != SPREAD:
        check_memory(files.parameters * number.itemsize, place, folder.name)
    size = files.parameters * number.itemsize
    on_stage(_about_to_read("reading", folder.name, files.parameters, size, place))
    with building:
        model = _read(folder.path, number, None if device == SPREAD else place, trust_remote_code)
    tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=trust_remote_code)
    named = {"name": folder.name, "revision": folder.revision, "fingerprint": digest}
    made = made_with(model, digest)
    kept = None if proofs is None or prove_again else recall(proofs, model, made)
    if kept is not None:
        return LoadedModel(
            **named,
            model=model,
            tokenizer=tokenizer,
            routers=kept[0],
            selfcheck=kept[1],
            threads=_threads(model, _inputs(model, tokenizer), threads),
        )
    loaded = attach(
        model, tokenizer, name=folder.name, revision=folder.revision, digest=digest, threads=threads, on_stage=on_stage
    )
    if proofs is not None:
        keep(proofs, loaded.routers, loaded.selfcheck, made)
    return loaded


def _about_to_read(doing: str, name: str, parameters: int, size: int, place: torch.device) -> str:
    """What the weights take, in words: their size in memory, what is free of it, and roughly how long reading takes."""
    free, seconds = free_memory(place), size / READ_SPEED
    about = f"about {seconds / 60:.0f} minutes" if seconds > 90 else f"about {max(seconds, 1):.0f} s"
    return (
        f"{doing} {name}: {parameters / 1e9:.2f} billion weights, {size / 2**30:.1f} GiB of the "
        f"{free / 2**30:.1f} GiB free, {about}{' to read them' if doing != 'reading' else ''}"
    )


def attach(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    revision: str = "",
    digest: str = "",
    inputs: Mapping[str, Any] | None = None,
    threads: int = 0,
    on_stage: Stage = silent,
) -> LoadedModel:
    """Find the routers of a model already in memory, install the hooks and run the self-check.

    `inputs` are what the model is called with in the probing passes, for models that read more than token ids.
    `threads` and `on_stage` are as for `load_model`.
    """
    if inputs is None:
        inputs = _inputs(model, tokenizer)
    chosen = _threads(model, inputs, threads)
    with chosen.used(1, PROBE_TOKENS):
        on_stage(f"finding the routers of {name}")
        routers = read_routers(model, inputs)
        on_stage(f"proving that what is recorded of {name} is what it executes")
        report = check(routers)
    return LoadedModel(
        name=name,
        revision=revision,
        fingerprint=digest,
        model=model,
        tokenizer=tokenizer,
        routers=routers,
        selfcheck=report,
        threads=chosen,
    )


def _inputs(model: Any, tokenizer: Any) -> Mapping[str, Any]:
    """Inputs of a short pass: ordinary tokens of this tokenizer."""
    return probe_inputs(model, vocabulary=len(tokenizer), special=frozenset(tokenizer.all_special_ids))


def _threads(model: Any, inputs: Mapping[str, Any], number: int) -> Threads:
    """The threads that passes of a model run on. Errors: OptionError for less than none."""
    if number < 0:
        raise OptionError(f"{number} threads", expected="a number of threads, or 0 to measure it", do="give one")
    return Threads(model, lambda: forward(model, inputs), input_device(model), fixed=number)


def choose_device(wanted: str) -> torch.device:
    """The device to compute on; auto takes CUDA, then MPS, then the CPU. Errors: OptionError."""
    kind, _, number = wanted.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise OptionError(f"device {wanted!r}", expected=f"one of {', '.join(DEVICES)}", do="choose one of those")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted in ("auto", SPREAD):
        return torch.device(next(name for name, is_here in present.items() if is_here))
    if not present[kind]:
        raise OptionError(
            f"device {wanted!r}, which torch {torch.__version__} does not see",
            expected="a device that is present",
            do="use device=auto, or install a torch build for it",
        )
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device, parameters: int, stored: str) -> torch.dtype:
    """The number format to compute in. Errors: OptionError."""
    if wanted not in DTYPES:
        raise OptionError(f"dtype {wanted!r}", expected=f"one of {', '.join(DTYPES)}", do="choose one of those")
    if wanted != "auto":
        chosen: torch.dtype = getattr(torch, wanted)
        return chosen
    if device.type == "cpu" and 4 * parameters <= SMALL:
        return torch.float32
    return getattr(torch, stored) if stored in DTYPES[1:] else torch.bfloat16


def _read(path: Path, dtype: torch.dtype, device: torch.device | None, trust_remote_code: bool) -> Any:
    """Config and weights through transformers, its refusals in our words; spread over devices where none is given."""
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        model, info = model_class(config).from_pretrained(
            path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            device_map="auto" if device is None else None,
            **options,
        )
    except (ValueError, KeyError, ImportError) as refusal:
        raise ModelNotFoundError(
            f"{path} is no causal language model that transformers can build: {refusal}",
            expected="a config.json of a known family, needing no code of its own",
            do="check config.json's model_type; pass trust_remote_code only for code you have read",
        ) from refusal
    except (RuntimeError, OSError) as refusal:
        if isinstance(refusal, torch.OutOfMemoryError):
            raise
        raise WeightsError(
            f"the weights in {path} do not load: {refusal}",
            expected="safetensors files that fit the config",
            do="download the model again, or check that config and weights belong together",
        ) from refusal
    _check_whole(path, info["missing_keys"])
    return model.eval() if device is None else _placed(model, device)


def _check_whole(path: Path, missing: Collection[str]) -> None:
    """Parameters that the config asks for and the files lack would be filled at random: refused."""
    if missing:
        first = min(missing)
        raise WeightsError(
            f"{path} has no weights for {len(missing)} parameters that its config asks for, the first is {first}",
            expected="weights for every parameter",
            do="check that config.json belongs to these weights (number of layers, of experts), or download both again",
        )


def _placed(model: Any, device: torch.device) -> Any:
    try:
        return model.eval().to(device)
    except torch.OutOfMemoryError as refusal:
        raise ModelMemoryError(
            f"{device} ran out of memory while the weights were copied: {refusal}",
            expected="room for all weights",
            do="choose dtype=bfloat16, a smaller model, or device=cpu",
        ) from refusal
