"""Files that import each other become one script, or a clear error."""

import pytest

from gatescope.drawing.modules import join_modules

PALETTE = 'export const WHITE = "#fff";\nconst INK = 0;\n'


@pytest.fixture
def join(tmp_path):
    """Joins files given by name, from main.js on."""

    def written(**files: str) -> str:
        for name, text in files.items():
            (tmp_path / f"{name}.js").write_text(text)
        return join_modules(tmp_path / "main.js")

    return written


def test_what_is_imported_comes_first_and_once(join):
    script = join(
        main='import { paint } from "./paint.js";\nimport { WHITE } from "./palette.js";\n\n'
        "export default function () {\n  paint(WHITE);\n}\n",
        paint='import { WHITE } from "./palette.js";\nexport function paint(ink = WHITE) {}\n',
        palette=PALETTE,
    )
    assert script == (
        'const WHITE = "#fff";\nconst INK = 0;\n\nfunction paint(ink = WHITE) {}\n\n'
        "\nexport default function () {\n  paint(WHITE);\n}\n"
    )


def test_comments_for_those_who_read_the_files_are_not_sent(join):
    kept = ["// Head.", "", "function one(a) {", "  /** @type {1} */ (a).b = 1;", "  return 1;", "}", ""]
    added = ["/**", " * One.", " * @param {number} a", " */"]
    script = join(main="\n".join([*kept[:2], *added, *kept[2:4], "  /** @type {1} */", *kept[4:]]))
    assert script == "\n".join(kept)


@pytest.mark.parametrize("kind", ["function", "async function", "function*", "class", "const", "let"])
def test_every_kind_of_declaration_can_be_exported(join, kind):
    rest = " = 1;" if kind in ("const", "let") else " {}" if kind == "class" else "() {}"
    script = join(main='import { one } from "./other.js";\n', other=f"export {kind} one{rest}\n")
    assert script == f"{kind} one{rest}\n\n"


def test_an_import_may_take_several_lines(join):
    assert join(main='import {\n  WHITE,\n} from "./palette.js";\n', palette=PALETTE) == f"{PALETTE[7:]}\n"


@pytest.mark.parametrize("name", ["BLACK", "INK", "WHITE as ink"])
def test_an_import_of_what_is_not_exported_is_refused(join, name):
    with pytest.raises(ValueError, match=rf"main\.js imports {name}, which palette\.js does not export"):
        join(main=f'import {{ WHITE, {name} }} from "./palette.js";\n', palette=PALETTE)


def test_an_import_of_no_file_is_refused(join):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.js"):
        join(main='import { one } from "./nowhere.js";\n')


def test_a_circle_is_refused_and_named(join):
    with pytest.raises(ValueError, match=r"import each other: main\.js → one\.js → two\.js → one\.js"):
        join(
            main='import { one } from "./one.js";\n',
            one='import { two } from "./two.js";\nexport const one = 1;\n',
            two='import { one } from "./one.js";\nexport const two = 2;\n',
        )


@pytest.mark.parametrize("declared", ["const INK = 1;", "function INK() {}", "class INK {}", "let INK;"])
def test_two_files_that_declare_one_name_are_refused(join, declared):
    with pytest.raises(ValueError, match=r"palette\.js and main\.js both declare INK"):
        join(main=f'import {{ WHITE }} from "./palette.js";\n{declared}\n', palette=PALETTE)


@pytest.mark.parametrize(
    "line",
    [
        'import * as palette from "./palette.js";',
        'import palette from "./palette.js";',
        'import "./palette.js";',
        'import { WHITE } from "elsewhere";',
        'import { WHITE } from "../palette.js";',
        "export { ink };",
        'export * from "./palette.js";',
        "export { ink as default };",
    ],
)
def test_any_other_import_or_export_is_refused(join, line):
    with pytest.raises(ValueError, match=r"main\.js has a line that cannot be joined"):
        join(main=f"const ink = 0;\n{line}\n", palette=PALETTE)


def test_only_the_first_module_has_a_default_export(join):
    with pytest.raises(ValueError, match=r"one\.js has a line that cannot be joined: export default"):
        join(main='import { one } from "./one.js";\n', one="export const one = 1;\nexport default function () {}\n")
