"""What all widgets are made of: pictures, messages, slow jobs behind a button, labeled controls."""

from __future__ import annotations

import html
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spikelfp_lab.errors import SpikeLFPError

Report = Callable[[float, str], None]
WRAP = {"flex_flow": "row wrap", "align_items": "flex-end"}  # layout of a row of controls


class Picture:
    """A Matplotlib figure as a PNG in the page (``widget``); the figure itself is not kept."""

    def __init__(self) -> None:
        # No tooltip: the view of images in ipywidgets 8.1 breaks on one.
        layout = {"max_width": "100%", "align_self": "flex-start", "display": "none"}
        self.widget = ipywidgets.Image(format="png", layout=layout)
        self.widget.add_class("spikelfp-picture")

    def show(self, figure: Figure, *, dpi: int = 100) -> None:
        """Draw a figure at ``dpi`` dots an inch."""
        buffer = io.BytesIO()
        figure.set_dpi(dpi)
        # fast compression: the picture goes no farther than the browser beside the kernel
        FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
        self.widget.value = buffer.getvalue()
        self.widget.layout.display = ""

    def clear(self) -> None:
        """Show nothing, rather than a browser's sign of a broken picture."""
        self.widget.layout.display = "none"
        self.widget.value = b""


class Message:
    """A line of text under a widget: what is shown, or what went wrong and the cure.

    ``widget`` has the CSS class ``spikelfp-message``, and ``spikelfp-error`` while it ``failed``.
    """

    def __init__(self) -> None:
        self.widget = ipywidgets.HTML()
        self.widget.add_class("spikelfp-message")
        self.failed = False

    def say(self, text: str) -> None:
        """Show plain text in place of what was there."""
        self.failed = False
        self.widget.remove_class("spikelfp-error")
        self.widget.value = f'<span role="status">{html.escape(text)}</span>'

    def fail(self, error: Exception | str) -> None:
        """Show what went wrong: in the page's own text color, and red only as a bar beside it."""
        self.failed = True
        self.widget.add_class("spikelfp-error")
        bar = "border-left: 4px solid #d32f2f; padding-left: 6px"
        text = html.escape(str(error))
        self.widget.value = f'<span role="alert" style="{bar}"><b>Error:</b> {text}</span>'

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Show errors that a user can mend in the widget; others are raised."""
        try:
            yield
        except (SpikeLFPError, traitlets.TraitError) as error:
            self.fail(error)


class Cancelled(Exception):
    """Raised inside a job at its next report once it has been cancelled."""


class Job(traitlets.HasTraits):
    """Slow work in a thread: one at a time, with progress, and an end when asked for.

    The work is a function of ``report(share, text)``, which it calls often: there it is cancelled.
    ``text`` is what it is doing, ``share`` how far (0 to 1), ``error`` why the last work failed.
    """

    running = traitlets.Bool(False)
    share = traitlets.Float(0.0)
    text = traitlets.Unicode("")
    error = traitlets.Unicode("")

    def __init__(self) -> None:
        super().__init__()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[Report], Any]) -> None:
        """Begin, unless something is running already."""
        if self.running:
            return
        self._cancel.clear()
        self.error, self.share, self.text, self.running = "", 0.0, "", True
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to end at its next report."""
        self._cancel.set()

    def wait(self) -> None:
        """Wait for the end; for tests and scripts."""
        if self._thread is not None:
            self._thread.join()

    def _report(self, share: float, text: str) -> None:
        if self._cancel.is_set():
            raise Cancelled
        self.share, self.text = float(share), text

    def _run(self, work: Callable[[Report], Any]) -> None:
        try:
            work(self._report)
            self.share = 1.0
        except Cancelled:
            self.text = "cancelled"
        except Exception as error:  # any failure of a thread is to be seen in the widget
            self.error = str(error) or type(error).__name__
        finally:
            self.running = False


def job_bar(job: Job, label: str, tooltip: str, start: Callable[[], None]) -> ipywidgets.Box:
    """A button that calls ``start()``, the job's progress, and a button that cancels it."""
    begin = button(label, tooltip, start)
    end = button("Cancel", "Stop what is running; what is finished stays", job.cancel)
    progress = ipywidgets.FloatProgress(max=1.0, tooltip="Share of the work that is done")
    text = ipywidgets.Label()

    def show(_: Any = None) -> None:
        begin.disabled, end.disabled, progress.value = job.running, not job.running, job.share
        progress.bar_style = "danger" if job.error else "info" if job.running else ""
        text.value = f"Error: {job.error}" if job.error else job.text

    job.observe(show, ["running", "share", "text", "error"])
    show()
    return ipywidgets.HBox([begin, end, progress, text])


def button(label: str, tooltip: str, click: Callable[[], Any]) -> ipywidgets.Button:
    """A button that calls ``click()``."""
    made = ipywidgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: click())
    return made


def control(kind: type[ipywidgets.DOMWidget], label: str, tooltip: str, **options: Any) -> Any:
    """A control of ``kind`` with its label and tooltip, both of which every control has."""
    style = {"description_width": "initial"}
    return kind(description=label, tooltip=tooltip, style=style, **options)


def link(state: traitlets.HasTraits, trait: str, widget: Any, message: Message) -> None:
    """Keep a trait and a control alike; a value the state refuses is explained and set back."""

    def to_state(change: Any) -> None:
        with message.errors():
            setattr(state, trait, change["new"])
        if widget.value != (value := getattr(state, trait)):
            widget.value = value

    def to_widget(_: Any = None) -> None:
        widget.value = getattr(state, trait)

    to_widget()
    widget.observe(to_state, "value")
    state.observe(to_widget, trait)
