"""A JupyterLab of its own on a free port, and what a test does in its page."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
SETTINGS = {
    # No pop-up about news, and no question about them.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are in the page, also those that are scrolled away.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}
NOTEBOOK = "window.jupyterapp?.shell?.currentWidget"


@contextmanager
def jupyter_lab(folder: Path, home: Path, environment: dict[str, str]) -> Iterator[str]:
    """Address of a running JupyterLab on ``folder``; its settings and logs are under ``home``."""
    names = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    names += ["JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR"]
    places = {name: home / name.lower() for name in names}
    for place in places.values():
        place.mkdir(parents=True)
    for name, values in SETTINGS.items():
        file = places["JUPYTERLAB_SETTINGS_DIR"] / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--allow-root", "--IdentityProvider.token=", "--ServerApp.port_retries=0",
        "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    env = os.environ | {name: str(place) for name, place in places.items()} | environment
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(address := f"http://127.0.0.1:{port}", server)
            yield address
        finally:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api/status", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start: see lab.log in the test's folder")


def open_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook in a workspace of its own, and wait for its kernel."""
    page.goto(f"{address}/lab/workspaces/{Path(name).stem}/tree/{name}")
    page.wait_for_function(
        f"""() => {{
            const context = {NOTEBOOK}?.sessionContext;
            return context?.path === '{name}'
                && context.session?.kernel?.connectionStatus === 'connected';
        }}""",
        timeout=60_000,
    )


def run_all(page: Page, *, seconds: float) -> list[str]:
    """Run all cells, not awaited: an evaluation has no time-out; the errors there were."""
    page.evaluate("() => { void window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_function(
        f"""() => {{
            const panel = {NOTEBOOK};
            const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code');
            const failed = cells.some(
                cell => cell.outputs.toJSON().some(o => o.output_type === 'error'));
            const done = cells.every(cell => cell.executionCount !== null);
            return (done || failed) && panel.sessionContext.session.kernel.status === 'idle';
        }}""",
        timeout=1000 * seconds,
        polling=250,
    )
    return page.evaluate(
        f"""() => [...{NOTEBOOK}.content.model.cells].filter(cell => cell.type === 'code')
            .flatMap(cell => cell.outputs.toJSON())
            .filter(output => output.output_type === 'error')
            .map(output => output.ename + ': ' + output.evalue)"""
    )


def settle(page: Page, *, seconds: float = 30) -> None:
    """Wait until the kernel has dealt with all that was asked of it."""
    page.wait_for_timeout(150)  # a control sends its value a moment after it was moved
    page.wait_for_function(
        f"() => {NOTEBOOK}.sessionContext.session.kernel.status === 'idle'", timeout=1000 * seconds
    )
    page.wait_for_timeout(100)


def move(control: Locator, page: Page) -> None:
    """Move one control by keyboard, whatever it is; one of an unknown kind is a failure."""
    control.scroll_into_view_if_needed()
    tag = control.evaluate("node => node.tagName.toLowerCase()")
    kind = control.get_attribute("type") or control.get_attribute("role") or ""
    control.focus()
    if kind == "slider":
        page.keyboard.press("ArrowRight")
    elif tag == "select" and control.get_attribute("multiple") is not None:
        page.keyboard.press("ControlOrMeta+a")
    elif tag == "select":
        choices = control.locator("option:not([disabled])")
        if choices.count() > 1:
            now = control.evaluate("node => node.value")
            values = choices.evaluate_all("nodes => nodes.map(node => node.value)")
            control.select_option(values[(values.index(now) + 1) % len(values)])
    elif kind in ("checkbox", "radio") or tag == "button":
        page.keyboard.press("Space")
    elif kind in ("number", "text", ""):
        value = control.input_value()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(value)
        page.keyboard.press("Enter")
    else:
        raise AssertionError(f"a control of an unknown kind: {tag} {kind}")
    settle(page)
