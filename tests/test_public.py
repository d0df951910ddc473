"""The public interface: the names that the docs list, each importable and documented, and quick to reach."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import gatescope
from tests.installed_tree import PACKAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_public_name_is_listed_in_the_docs_and_documented_where_it_is():
    listed = set()
    for row in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines():
        if row.startswith("| `"):
            listed |= set(re.findall(r"`(\w+)`", row.split("|")[1]))
    assert listed == set(gatescope.__all__) == set(dir(gatescope))
    for name in sorted(listed - {"METRICS", "__version__"}):
        assert getattr(gatescope, name).__doc__, name


def test_importing_it_does_not_wait_for_torch():
    code = "import sys, gatescope\nassert gatescope.__version__\n"
    code += "assert not {'torch', 'numpy', 'pandas', 'streamlit'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT)


def test_the_wheel_holds_every_package_under_one_roof():
    tools = PROJECT["tool"]["setuptools"]
    folders = {"gatescope"}
    for package in PACKAGES:
        for folder in (ROOT / package, *(ROOT / package).rglob("*")):
            if folder.is_dir() and any(folder.glob("*.py")):
                folders.add("gatescope." + ".".join(folder.relative_to(ROOT).parts))
    assert set(tools["packages"]) == folders
    assert tools["package-dir"] == {"gatescope": "gatescope"} | {f"gatescope.{name}": name for name in PACKAGES}


def test_pins_lie_within_the_ranges_and_no_range_is_open():
    from packaging.requirements import Requirement

    project = PROJECT["project"]
    ranges = [Requirement(each) for each in project["dependencies"]]
    ranges += [Requirement(each) for extra in project["optional-dependencies"].values() for each in extra]
    pins = {}
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if found := re.fullmatch(r"([\w-]+)==([\w.]+)", line.strip()):
                pins[found[1].lower().replace("_", "-")] = found[2]
    own = {"gatescope", "gatescope-models"}
    for each in ranges:
        name = each.name.lower().replace("_", "-")
        if name == "gatescope":
            continue
        assert any(part.operator == "<" for part in each.specifier), f"{each} has no upper bound"
        assert name in own | {"ipython", "anywidget"} or pins[name] in each.specifier, (
            f"{each} and the pin {pins.get(name)}"
        )
    runtime = {
        found[1].lower().replace("_", "-")
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if (found := re.match(r"([\w-]+)==", line))
    }
    assert runtime - {each.name.lower().replace("_", "-") for each in ranges} == set(), "pinned, and in no range"


def test_the_server_that_is_installed_is_the_checkout_s():
    for name in ("streamlit_app.py", ".streamlit/config.toml"):
        assert (ROOT / "gatescope" / "serve" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    cited = re.search(r"(?m)^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited is not None and cited[1] == gatescope.__version__
