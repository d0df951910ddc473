"""A model's files before any of them is loaded: where they are, whether they are whole, whether they fit."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from gatescope.routing.errors import ModelAccessError, ModelMemoryError, ModelNotFoundError, WeightsError

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "tokenizer*"]
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
WHOLE_FILE = 2**30  # files up to this size are hashed whole; of larger ones, evenly spread blocks
BLOCKS, BLOCK = 64, 2**20
FINGERPRINT = "fingerprint.txt"
"""Where a folder says the fingerprint of its files; the bundled models do."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""Either of these says that a hub's model is on this disk."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Folder(NamedTuple):
    """A model on this disk: its folder, the name to show, the commit if it came from a hub."""

    path: Path
    name: str
    revision: str


class WeightFiles(NamedTuple):
    """The safetensors files of a model and what their headers say."""

    paths: tuple[Path, ...]
    parameters: int
    stored: str


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder, there or not, and not a hub's."""
    return Path(name).expanduser().exists() or name.startswith((".", "/", "~"))


def resolve(name: str, revision: str = "", *, files: Sequence[str] = PATTERNS) -> Folder:
    """The folder of a model: itself, or files out of the hub's. Errors: ModelNotFoundError, ModelAccessError."""
    path = Path(name).expanduser()
    if is_folder(name):
        return Folder(_checked_folder(path), path.resolve().name, "")
    return _snapshot(name, revision, files)


def _checked_folder(path: Path) -> Path:
    if not path.is_dir():
        raise ModelNotFoundError(
            f"{path} is {'a file' if path.is_file() else 'not there'}",
            expected="a folder written by save_pretrained",
            do="check the path, or give a hub id such as organisation/model",
        )
    if not (path / "config.json").is_file():
        inside = ", ".join(sorted(each.name for each in path.iterdir())[:6]) or "nothing"
        raise ModelNotFoundError(
            f"{path} holds no config.json (it holds {inside})",
            expected="config.json, *.safetensors and the tokenizer's files",
            do="give the folder that save_pretrained wrote",
        )
    return path


def _snapshot(name: str, revision: str, files: Sequence[str]) -> Folder:
    try:
        path = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(files)))
    except GatedRepoError as refusal:
        raise ModelAccessError(
            f"the hub keeps {name} behind a licence or permission",
            expected="an account that was granted access",
            do="accept the terms on the model's page, then run `hf auth login` or set HF_TOKEN",
        ) from refusal
    except RevisionNotFoundError as refusal:
        raise ModelNotFoundError(
            f"{name} has no revision {revision!r}", expected="a branch, tag or commit", do="leave revision out for main"
        ) from refusal
    except RepositoryNotFoundError as refusal:
        raise ModelNotFoundError(
            f"the hub knows no model {name!r} (or it is private)",
            expected="a hub id such as organisation/model, or a folder",
            do="check the spelling; for a private model run `hf auth login`",
        ) from refusal
    except HFValidationError as refusal:
        raise ModelNotFoundError(
            f"{name!r} is neither a folder here nor a hub id",
            expected="a folder written by save_pretrained, or organisation/model",
            do="check the path",
        ) from refusal
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as refusal:
        raise ModelNotFoundError(
            f"{name!r} is no folder here, and the hub could not be reached: {_first_line(refusal)}",
            expected="a folder written by save_pretrained, a model already downloaded, or a network",
            do="check the path or the network; HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 uses only what is here",
        ) from refusal
    return Folder(path, name, path.name)


def _first_line(refusal: BaseException) -> str:
    return (str(refusal).strip().splitlines() or [type(refusal).__name__])[0][:200]


def check_weights(path: Path) -> WeightFiles:
    """Read every safetensors header and compare it with its file's length. Errors: WeightsError."""
    files = sorted(file for file in path.glob("*.safetensors") if file.is_file())
    _check_complete(path, files)
    parameters, kinds = 0, Counter[str]()
    for file in files:
        for tensor in _header(file).values():
            count = 1
            for length in tensor["shape"]:
                count *= length
            parameters += count
            kinds[tensor["dtype"]] += count
    return WeightFiles(tuple(files), parameters, DTYPE_NAMES.get(kinds.most_common(1)[0][0], ""))


def _check_complete(path: Path, files: list[Path]) -> None:
    index = path / "model.safetensors.index.json"
    wanted = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    missing = sorted(wanted - {file.name for file in files})
    if missing or not files:
        pickles = [each.name for each in path.glob("*.bin")]
        raise WeightsError(
            f"{path} lacks {', '.join(missing) or 'any *.safetensors file'}"
            + (f"; {pickles[0]} is a pickle, which is never read" if pickles else ""),
            expected="all weights as safetensors",
            do="download the model again; convert pickled weights with save_pretrained(safe_serialization=True)",
        )


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """Tensor names, dtypes and shapes of one file; the file must be as long as its header says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if 2 <= length <= min(size, 100 * 2**20) else b""
    try:
        tensors: dict[str, dict[str, Any]] = json.loads(text)
        tensors.pop("__metadata__", None)
        ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    except (ValueError, AttributeError, KeyError, TypeError) as fault:
        raise _torn(file, f"its header of {length} bytes is not readable", size) from fault
    if 8 + length + max(ends, default=0) != size:
        raise _torn(file, f"its header speaks of {8 + length + max(ends, default=0)} bytes", size)
    return tensors


def _torn(file: Path, why: str, size: int) -> WeightsError:
    return WeightsError(
        f"{file} is damaged: {why}, the file has {size}",
        expected="a whole safetensors file",
        do="download the model again",
    )


def check_memory(needed: int, device: torch.device, name: str) -> None:
    """Compare the weights' size in memory with what is free. Errors: ModelMemoryError."""
    free = free_memory(device)
    if needed > free:
        raise ModelMemoryError(
            f"{name} needs {needed / 2**30:.1f} GiB for its weights; {device.type} has {free / 2**30:.1f} GiB free",
            expected="weights that fit into free memory",
            do="choose dtype=bfloat16, a smaller model, or a machine with more memory",
        )


def free_memory(device: torch.device) -> int:
    """Bytes free on a device; on a CPU also within the container's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    for file in CGROUP_LIMITS:
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            free = min(free, max(int(text) - psutil.Process().memory_info().rss, 0))
    return free


def fingerprint(path: Path, files: tuple[Path, ...]) -> str:
    """16 hex digits that change when the config, the tokenizer or the weights do.

    Files above 1 GiB count by their length and 64 evenly spread blocks of 1 MiB.
    """
    digest = hashlib.sha256()
    for file in [path / "config.json", *sorted(path.glob("tokenizer*")), *files]:
        if file.is_file():
            digest.update(f"{file.name}:{file.stat().st_size}:".encode())
            _hash_into(digest, file)
    return digest.hexdigest()[:16]


def check_fingerprint(path: Path, found: str) -> None:
    """Errors: WeightsError where a folder says another fingerprint than its files have."""
    try:
        saved = (path / FINGERPRINT).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        saved = error.strerror or str(error)
    if saved != found:
        raise WeightsError(
            f"the files in {path} have the fingerprint {found}, and {FINGERPRINT} says {saved[:40]!r}",
            expected="weights, configuration and tokenizer as they were exported",
            do=f"restore the folder; if you changed the model on purpose, remove {FINGERPRINT}",
        )


def _hash_into(digest: "hashlib._Hash", file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= WHOLE_FILE:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
            return
        for at in range(BLOCKS):
            stream.seek(at * (size - BLOCK) // (BLOCKS - 1))
            digest.update(stream.read(BLOCK))
