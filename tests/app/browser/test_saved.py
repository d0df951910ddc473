"""Every Save of every figure, pressed: each file comes, opens, and says in its name of which layer and model it is."""

import re
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from tests.app.browser.harness import PATHS, People, serving, settled

pytestmark = pytest.mark.browser

PAGES = {
    "token": "?c=welcome.sift-softmax&t=4",
    "layers": "",
    "pairs": "",
    "domains": "?by=language",
    "locality": "",
    "expert": "?l=2&e=7",
    "map": "",
}
NAMED = re.compile(r"gatescope-[\w-]+-sift-softmax-(all-layers|layer-\d+)\.(csv|parquet|png|svg)")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.parametrize("name", PAGES)
def test_every_save_of_a_page_gives_a_file_that_opens(browser, bundled, name):
    people = People(browser, bundled)
    page = people(PATHS[name] + PAGES[name])
    settled(page)
    keys = page.locator("[class*=st-key-figure-]").evaluate_all(
        "all => all.map(each => [...each.classList].find(one => one.startsWith('st-key-figure-')).slice(14))"
    )
    assert keys
    for key in keys:
        page.locator(f".st-key-{key}-save").get_by_role("button").first.click()
        for button in page.locator("[data-testid=stPopoverBody]").get_by_role("button").all():
            label = button.inner_text().split("\n")[-1].strip()
            if not re.search("CSV|Parquet|PNG|SVG", label):
                continue
            with page.expect_download() as started:
                button.click()
            _opens(started.value)
        page.keyboard.press("Escape")
        page.locator("[data-testid=stPopoverBody]").wait_for(state="detached")
    people.leave()


def _opens(download) -> None:
    assert NAMED.fullmatch(download.suggested_filename), download.suggested_filename
    file, kind = download.path(), download.suggested_filename.rpartition(".")[2]
    match kind:
        case "csv" | "parquet":
            table = pd.read_csv(file) if kind == "csv" else pd.read_parquet(file)
            assert len(table) and set(table["model"]) == {"sift-softmax"}
            assert {"layer", "unit", "scope", "fingerprint"} <= set(table.columns)
        case "png":
            assert file.read_bytes().startswith(PNG) and file.stat().st_size > 2000
        case "svg":
            drawn = ElementTree.parse(file).getroot()
            assert drawn.tag.endswith("svg") and len(list(drawn.iter())) > 20
