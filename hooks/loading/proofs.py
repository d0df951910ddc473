"""Proofs that are kept: what was found and proven of a model once is not found and proven anew at every start.

A proof is of the weights, the libraries, the device, the number format and the kernels it was made with; with any other
of these it does not exist. It is small, holds nothing of any text, and is no more trusted than the folder it lies in.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from gatescope.hooks.discovery.formulas.selection import candidates
from gatescope.hooks.discovery.kept_sites import describe, rebuild
from gatescope.hooks.discovery.rules import InferredRule
from gatescope.hooks.layers.probing import input_device
from gatescope.hooks.layers.site import Site
from gatescope.hooks.loading.routers import Routers
from gatescope.hooks.loading.selfcheck_report import Check, SelfCheckReport
from gatescope.hooks.recording.intervene import Watch
from gatescope.hooks.recording.recorder import Recorder
from gatescope.routing.router import RouterRule

log = logging.getLogger(__name__)
FORM = 1
LIBRARIES = (torch, transformers, accelerate)


def made_with(model: Any, fingerprint: str) -> dict[str, str]:
    """Everything that a proof of this model depends on."""
    device, config = input_device(model), model.config
    return {
        "form": str(FORM),
        "fingerprint": fingerprint,
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "device": str(device),
        "processor": _processor(device),
        "devices": json.dumps(getattr(model, "hf_device_map", None), default=str, sort_keys=True),
        "dtype": str(model.dtype),
        "attention": str(getattr(config, "_attn_implementation", "")),
        "experts": str(getattr(config, "_experts_implementation", "")),
        "code": _code(),
        **{each.__name__: str(each.__version__) for each in LIBRARIES},
    }


def keep(folder: Path, routers: Routers, report: SelfCheckReport, made: Mapping[str, str]) -> bool:
    """Keep a proof that holds; whether it was kept.

    A proof that failed, one of a model whose experts are lists, and one that cannot be written are made anew each time.
    """
    sites = [describe(site) for site in routers.sites]
    if not report.passed or None in sites or not made["fingerprint"]:
        return False
    kept = {
        "made": dict(made),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "sites": sites,
        "rules": [_rule_data(site, one) for site, one in zip(routers.sites, routers.learnt, strict=True)],
        "unreached": list(routers.unreached),
        "checks": [asdict(check) for check in report.checks],
        "notes": list(report.notes),
    }
    file = _file(folder, made)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        log.warning("the proof of %s is not kept: %s", made["class"], error)
        with suppress(OSError):
            partial.unlink()
        return False
    return True


def recall(folder: Path, model: Any, made: Mapping[str, str]) -> tuple[Routers, SelfCheckReport] | None:
    """The routers of a model and their proof, as they were found before with all the same; None where none is kept.

    Nothing runs. A file that cannot be read, or that does not fit the model, counts as none, and is said in the log.
    """
    file = _file(folder, made)
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["made"] != dict(made):
            raise LookupError("it was made with something else")
        sites = tuple(rebuild(model, each) for each in kept["sites"])
        learnt = tuple(_rule(site, each) for site, each in zip(sites, kept["rules"], strict=True))
        checks = tuple(Check(**each) for each in kept["checks"])
        report = SelfCheckReport(checks, tuple(kept["notes"]), proven_at=kept["at"])
        unreached = tuple(kept["unreached"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("the proof in %s is not used: %s", file, error)
        return None
    if not report.passed or not sites:
        return None
    return (
        Routers(
            model=model,
            sites=sites,
            learnt=learnt,
            recorder=Recorder(sites),
            unreached=unreached,
            inputs={},
            watch=Watch(),
            output_nv=torch.empty(0, 0),
        ),
        report,
    )


def _file(folder: Path, made: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(made), sort_keys=True).encode()).hexdigest()
    return folder / f"proof-{digest[:24]}.json"


def _rule_data(site: Site, one: InferredRule) -> dict[str, Any]:
    """A rule as JSON can hold it; its selector by its number among those that were tried."""
    tried = [each.form for each in candidates(site, one.rule.score)]
    number = None if one.selector is None else tried.index(one.selector.form)
    rest = {"weight_error": one.weight_error, "ids_agree": one.ids_agree}
    return {"rule": asdict(one.rule), "selector": number, **rest}


def _rule(site: Site, data: Mapping[str, Any]) -> InferredRule:
    rule = RouterRule(**data["rule"])
    number = data["selector"]
    selector = None if number is None else list(candidates(site, rule.score))[number]
    return InferredRule(rule, selector, float(data["weight_error"]), float(data["ids_agree"]))


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else device.type


@cache
def _code() -> str:
    """A digest of the code that finds and proves: a proof by other code is none."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
