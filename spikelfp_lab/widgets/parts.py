"""What all widgets are made of: a picture, a message line, a slow job behind a button, controls that say what they are for."""

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

DPI = 100  # of pictures on the screen


class Picture:
    """A Matplotlib figure as a PNG in the page; the figure itself is not kept, and pyplot never hears of it.

    Attributes
    ----------
    widget : ipywidgets.Image

    Examples
    --------
    >>> picture = Picture()
    >>> picture.show(Figure(figsize=(1, 1)))
    >>> bytes(picture.widget.value[1:4])
    b'PNG'
    """

    def __init__(self) -> None:
        # No tooltip: the view of images in ipywidgets 8.1 breaks on one. Its own size, unless the page is narrower.
        self.widget = ipywidgets.Image(format="png")
        self.widget.layout.max_width = "100%"
        self.widget.layout.align_self = "flex-start"
        self.widget.layout.display = "none"
        self.widget.add_class("spikelfp-picture")

    def show(self, figure: Figure, *, dpi: int = DPI) -> None:
        """Draw a figure at ``dpi`` dots an inch."""
        buffer = io.BytesIO()
        figure.set_dpi(dpi)
        # The fastest compression: the picture goes no farther than the browser beside the kernel.
        FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
        self.widget.value = buffer.getvalue()
        self.widget.layout.display = ""

    def clear(self) -> None:
        """Show nothing, rather than a browser's sign of a broken picture."""
        self.widget.layout.display = "none"
        self.widget.value = b""


class Message:
    """A line of text under a widget: what is shown, or what went wrong and the cure.

    Attributes
    ----------
    widget : ipywidgets.HTML
        Of CSS class ``spikelfp-message``, and ``spikelfp-error`` while it tells of an error.

    Examples
    --------
    >>> message = Message()
    >>> with message.errors():
    ...     raise SpikeLFPError("No LFP in I/s01: choose another session.")
    >>> message.failed, "No LFP in I/s01" in message.widget.value
    (True, True)
    """

    def __init__(self) -> None:
        self.widget = ipywidgets.HTML()
        self.widget.add_class("spikelfp-message")
        self.failed = False

    def say(self, text: str) -> None:
        """Plain text; takes the place of what was there."""
        self.failed = False
        self.widget.remove_class("spikelfp-error")
        self.widget.value = f'<span role="status">{html.escape(text)}</span>'

    def fail(self, error: Exception | str) -> None:
        """What went wrong, in red and with a word for those who do not see red."""
        self.failed = True
        self.widget.add_class("spikelfp-error")
        self.widget.value = f'<span role="alert" style="color:#b00020"><b>Error:</b> {html.escape(str(error))}</span>'

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Show errors that a user can mend in the widget instead of as a traceback; others are raised."""
        try:
            yield
        except (SpikeLFPError, traitlets.TraitError) as error:
            self.fail(error)


class Cancelled(Exception):
    """Raised inside a job at its next report once somebody has cancelled it."""


Report = Callable[[float, str], None]


class Job(traitlets.HasTraits):
    """Slow work in a thread: one at a time, with progress, and an end when asked for.

    The work is a function of one argument, ``report(share, text)``, which it calls as often as it can; that is where it ends when cancelled.

    Attributes
    ----------
    running : bool
    share : float
        0 to 1.
    text : str
        What it is doing.
    error : str
        Why the last work failed; empty if it did not.

    Examples
    --------
    >>> job, results = Job(), []
    >>> job.start(lambda report: results.append(report(0.5, "half")))
    >>> job.wait()
    >>> results, job.share, job.running
    ([None], 1.0, False)
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
        self.set_trait("error", "")
        self.share, self.text, self.running = 0.0, "", True
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to end at its next report."""
        self._cancel.set()

    def wait(self) -> None:
        """Until it has ended; for tests and scripts."""
        if self._thread is not None:
            self._thread.join()

    def report(self, share: float, text: str) -> None:
        """Say how far the work is. Raises ``Cancelled`` where it must end."""
        if self._cancel.is_set():
            raise Cancelled
        self.share, self.text = float(share), text

    def _run(self, work: Callable[[Report], Any]) -> None:
        try:
            work(self.report)
            self.share = 1.0
        except Cancelled:
            self.text = "cancelled"
        except Exception as error:  # any failure of a thread is to be seen in the widget
            self.error = str(error) or type(error).__name__
        finally:
            self.running = False


def job_bar(job: Job, label: str, tooltip: str, start: Callable[[], None]) -> ipywidgets.Box:
    """A button that starts a job, its progress, and a button that cancels it.

    Parameters
    ----------
    job : Job
    label, tooltip : str
        Of the start button.
    start : callable
        Called at a click; it calls ``job.start``.

    Examples
    --------
    >>> bar = job_bar(Job(), "Compute", "Encode all sessions", lambda: None)
    >>> [child.description for child in bar.children[:2]]
    ['Compute', 'Cancel']
    """
    begin = button(label, tooltip, start)
    end = button("Cancel", f"Stop: {tooltip[:1].lower()}{tooltip[1:]}", job.cancel)
    progress = ipywidgets.FloatProgress(max=1.0, tooltip="Share of the work that is done")
    text = ipywidgets.Label()
    text.add_class("spikelfp-job")

    def show(_: Any = None) -> None:
        begin.disabled, end.disabled = job.running, not job.running
        progress.value = job.share
        progress.bar_style = "danger" if job.error else "info" if job.running else ""
        text.value = f"Error: {job.error}" if job.error else job.text

    job.observe(show, ["running", "share", "text", "error"])
    show()
    return ipywidgets.HBox([begin, end, progress, text])


def button(label: str, tooltip: str, click: Callable[[], Any]) -> ipywidgets.Button:
    """A button that calls ``click()``.

    >>> button("Save", "Write the view to a file", lambda: None).tooltip
    'Write the view to a file'
    """
    made = ipywidgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: click())
    return made


def control(kind: type[ipywidgets.DOMWidget], label: str, tooltip: str, **options: Any) -> Any:
    """A control of ``kind`` with its label and tooltip, both of which every control has.

    >>> control(ipywidgets.FloatText, "Start (s)", "Where the view begins", value=0.0).description
    'Start (s)'
    """
    style = {"description_width": "initial"}
    return kind(description=label, tooltip=tooltip, style=style, **options)


def link(state: traitlets.HasTraits, trait: str, widget: Any, message: Message) -> None:  # fmt: skip
    """Keep a trait of a state and the value of a control the same; a value that the state refuses is explained, and the control set back.

    >>> class Span(traitlets.HasTraits):
    ...     span_s = traitlets.Float(10.0, min=0.1)
    >>> state, box, message = Span(), ipywidgets.FloatText(10.0), Message()
    >>> link(state, "span_s", box, message)
    >>> box.value = -1
    >>> state.span_s, box.value, message.failed
    (10.0, 10.0, True)
    """

    def to_state(change: Any) -> None:
        try:
            setattr(state, trait, change["new"])
        except (SpikeLFPError, traitlets.TraitError) as error:
            with widget.hold_trait_notifications():
                widget.value = getattr(state, trait)
            message.fail(error)

    def to_widget(change: Any) -> None:
        widget.value = change["new"]

    widget.value = getattr(state, trait)
    widget.observe(to_state, "value")
    state.observe(to_widget, trait)
