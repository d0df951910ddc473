"""`python -m tests.package`: both wheels, built and installed into an empty environment, work beside a user's project.

The project has folders of its own called `models`, `app`, `hooks` and `cache`, as trainers have. Only `make package`
and CI run this: it takes some two minutes, most of them for pip.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
OWN = ("models", "app", "hooks", "cache")
"""Names that a user's project may have, and that no wheel of ours may bring."""
TEXTS = ["The cat sat on the mat.", "def add(a, b):\n    return a + b", "Der Hund schläft im Garten."]
SCRIPT = """
import app, cache, hooks, models
assert {each.MINE for each in (app, cache, hooks, models)} == {"mine"}
from gatescope import METRICS, Ask, capture, load_model, tally
from gatescope.models import BUNDLED_MODELS
record = capture(load_model(BUNDLED_MODELS["sift-softmax"]), "Where does this go?")
print(METRICS["load_gini"](tally(record), Ask()).value.round(3).tolist())
"""
HEALTHY_SECONDS = 120


def run(*words: object, cwd: Path, **more: object) -> str:
    """A command's output. Errors: SystemExit with all that it wrote where it fails."""
    done = subprocess.run([*map(str, words)], cwd=cwd, text=True, capture_output=True, env=_environment(), **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours, without what leads back into the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def build(folder: Path) -> list[Path]:
    """Both wheels, built from copies of what git knows: a build leaves its traces in the tree."""
    copy = folder / "source"
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for project in (copy, copy / "models"):
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, project, cwd=folder)
    return sorted(folder.glob("*.whl"))


def install(folder: Path, wheels: list[Path]) -> Path:
    """An environment with nothing but the wheels and what they ask for, at the versions that are tested."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pins = ROOT / "requirements.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", pins, *wheels, cwd=folder)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    brought = [name for name in (*OWN, "routing", "analysis", "server", "cli", "studies") if (packages / name).exists()]
    if brought:
        sys.exit(f"the wheels bring {', '.join(brought)} into site-packages, beside gatescope")
    return python


def try_it(folder: Path, python: Path) -> None:
    """What a user does first, in a project of their own."""
    project = folder / "project"
    for name in OWN:
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text('MINE = "mine"\n')
    texts = project / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text, "domain": "any", "language": "en"}) + "\n" for text in TEXTS))
    gatescope = python.parent / "gatescope"
    print(run(gatescope, "--version", cwd=project).strip())
    print(run(python, "-c", SCRIPT, cwd=project).strip())
    run(gatescope, "trace", "--prompt", "Where does this go?", "--out", "trace", cwd=project)
    run(gatescope, "check", "sift-softmax", cwd=project)
    run(gatescope, "analyze", texts, "--out", "study", "--metrics", "load_gini", "--resamples", 20, cwd=project)
    run(python, "-m", "gatescope", "corpus", "check", texts, cwd=project)
    made = [project / "trace" / "trace.csv", project / "study" / "report.html"]
    if missing := [str(each) for each in made if not each.exists()]:
        sys.exit(f"not written: {', '.join(missing)}")
    serve(gatescope, project)


def serve(gatescope: Path, project: Path, *, port: int = 18_501) -> None:
    """The dashboard, until it says that it is healthy."""
    process = subprocess.Popen([gatescope, "serve", "--port", str(port)], cwd=project, env=_environment())
    try:
        until = time.monotonic() + HEALTHY_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                    if answer.read() == b"ok":
                        print("serve: healthy")
                        return
            except OSError:
                time.sleep(0.5)
        sys.exit("the dashboard is not healthy")
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Build, install, try."""
    with TemporaryDirectory(prefix="gatescope-package-") as name:
        folder = Path(name)
        wheels = build(folder)
        for wheel in wheels:
            print(f"{wheel.name}: {wheel.stat().st_size:,} bytes")
        try_it(folder, install(folder, wheels))


if __name__ == "__main__":
    main()
