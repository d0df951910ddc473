"""ES modules joined to one script: Streamlit takes what a component runs as a single text."""

import re
from pathlib import Path

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_DECLARED = re.compile(r"^(export )?(?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)
_DOC = re.compile(r"^ */\*\*(?:(?!\*/).)*\*/\n", re.MULTILINE | re.DOTALL)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def join_modules(entry: Path) -> str:
    """One script of a module and all it imports, each file once and after those it needs.

    An import is `import { a, b } from "./file.js";`, an export stands before the declaration. The files come to share
    one scope, so no two of them may declare the same name at the top. Comments that start with `/**` stay behind.
    """
    joined: dict[Path, str] = {}
    exports: dict[Path, set[str]] = {}
    owners: dict[str, Path] = {}

    def add(path: Path, importers: tuple[Path, ...]) -> None:
        if path in importers:
            raise ValueError(f"modules import each other: {' → '.join(each.name for each in (*importers, path))}")
        if path in joined:
            return
        text = _DOC.sub("", path.read_text("utf-8"))
        for names, file in _IMPORT.findall(text):
            add(source := path.with_name(file), (*importers, path))
            if unknown := set(re.split(r",\s*", names.strip(" \n,"))) - exports[source]:
                raise ValueError(f"{path.name} imports {', '.join(sorted(unknown))}, which {file} does not export")
        for _, name in _DECLARED.findall(text):
            if owners.setdefault(name, path) != path:
                raise ValueError(f"{owners[name].name} and {path.name} both declare {name}: rename one of them")
        exports[path] = {name for exported, name in _DECLARED.findall(text) if exported}
        joined[path] = _DECLARED.sub(lambda found: found[0].removeprefix("export "), _IMPORT.sub("", text))
        for line in _LEFT.findall(joined[path]):
            if path != entry or not line.startswith("export default "):
                raise ValueError(f"{path.name} has a line that cannot be joined: {line}")

    add(entry, ())
    return "\n".join(joined.values())
