"""Notebooks in a real JupyterLab: all cells run, and every control is moved.

Not part of ``pytest`` by default: ``make test`` runs them after the notebooks, whose trained models
they find. They skip where chromium is missing, and fail there when CI=true."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.ui.lab import (
    CHROMIUM,
    CHROMIUM_ARGUMENTS,
    jupyter_lab,
    move,
    open_notebook,
    run_all,
    settle,
)

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
CONTROLS = (
    "select, input, .noUi-handle, .widget-toggle-buttons button, button.widget-button, "
    "button.widget-toggle-button"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on copies of the notebooks, with the models that their tests have trained."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "work" / "notebooks"
    folder.mkdir(parents=True)
    for name in ("01_sessions", "04_distillation", "12_explore_and_compare"):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder)
    environment = {"PRESET": os.environ.get("PRESET", "smoke"), "COHORT": "simulated", "SEEDS": "1"}
    environment["SPIKELFP_RUNS"] = str(ROOT / "build" / "smoke" / "runs")
    environment["FIGURES"] = str(home / "figures")
    with jupyter_lab(folder, home, environment) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        message = "no chromium: apt-get install --no-install-recommends chromium fonts-dejavu-core"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.set_default_timeout(30_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    yield page
    page.close()


@pytest.mark.parametrize("name", ["01_sessions", "04_distillation"])
def test_a_notebook_runs_to_its_end(lab: str, page: Page, name: str) -> None:
    open_notebook(page, lab, f"{name}.ipynb")
    assert run_all(page, seconds=300) == []
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_the_widgets_of_notebook_12_work_by_keyboard(lab: str, page: Page) -> None:
    open_notebook(page, lab, "12_explore_and_compare.ipynb")
    assert run_all(page, seconds=300) == []
    page.wait_for_timeout(500)
    assert page.get_by_text("javascript error").count() == 0

    explorer = page.locator(".spikelfp-explorer").first
    explorer.scroll_into_view_if_needed()
    assert "I/s01" in explorer.locator(".spikelfp-message").first.inner_text()
    explorer.screenshot(path=SCREENSHOTS / "explorer.png")
    assert move_all(explorer, page) >= 8
    assert page.locator(".spikelfp-error").all_inner_texts() == []

    for tab in ("Session", "Quality", "Power spectra"):
        explorer.get_by_role("tab", name=tab, exact=True).click()
        settle(page)
        explorer.screenshot(path=SCREENSHOTS / f"explorer_{tab.lower().replace(' ', '_')}.png")
        if tab == "Quality":
            assert "check_quality finds nothing" in explorer.inner_text()

    span = explorer.locator("input[type=number]").first
    for typed, says in (("-5", ["at least two bins"]), ("5", [])):  # wrong, and mended
        span.fill(typed)
        span.press("Enter")
        settle(page)
        errors = explorer.locator(".spikelfp-error").all_inner_texts()
        assert len(errors) == len(says) and all(map(str.__contains__, errors, says))

    monitor = page.locator(".spikelfp-monitor").first
    monitor.scroll_into_view_if_needed()
    assert "120" in monitor.inner_text()  # the steps of the smoke preset
    monitor.screenshot(path=SCREENSHOTS / "monitor.png")

    comparison = page.locator(".spikelfp-compare").first
    comparison.scroll_into_view_if_needed()
    comparison.get_by_role("button", name="Compute").click()
    # its work is in a thread of the kernel, which is idle meanwhile: wait for the picture
    comparison.locator("img:visible").first.wait_for(timeout=60_000)
    points = comparison.locator(".spikelfp-picture ~ button")
    points.first.click()  # which it can take only if it lies over the picture
    assert points.count() == 10  # five models by two read-outs on the one session
    tabs = comparison.locator(".lm-TabBar-tab")
    for number in range(tabs.count()):
        tabs.nth(number).click()
        settle(page)
        name = tabs.nth(number).inner_text().strip().lower().replace(" ", "_").strip("?")
        comparison.screenshot(path=SCREENSHOTS / f"compare_{name}.png")
        assert comparison.locator("img:visible").count() > 0, name
    assert move_all(comparison, page) >= 8
    assert page.locator(".spikelfp-error").all_inner_texts() == []


def move_all(widget: Locator, page: Page) -> int:
    """Move every control that can be seen and is not grey; how many."""
    moved = 0
    for control in widget.locator(CONTROLS).all():
        if control.is_visible() and control.is_enabled():
            move(control, page)
            moved += 1
    return moved
