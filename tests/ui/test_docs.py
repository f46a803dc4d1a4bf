"""The documentation site in a browser, where `make docs` has built it."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.ui.lab import CHROMIUM, CHROMIUM_ARGUMENTS

SITE = Path(__file__).resolve().parents[2] / "build" / "docs"
LOST = "() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="no build/docs: run `make docs`")
def test_search_finds_pictures_load_and_the_console_is_empty() -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "-d", SITE], stdout=pipe, stderr=subprocess.DEVNULL) as server:
        try:
            address = server.stdout.readline().decode().split("(")[1].split("/)")[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS
                )
                page, said = browser.new_page(), []
                page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
                page.on("pageerror", lambda error: said.append(str(error)))
                for name in ("index", "docs/method", "docs/gallery", "notebooks/05_comparison"):
                    page.goto(f"{address}/{name}.html", wait_until="networkidle")
                    assert page.evaluate(LOST) == []
                page.goto(f"{address}/search.html?q=distill")
                page.locator("#search-results li a").first.wait_for()
                assert said == []
        finally:
            server.kill()
