"""What all widgets are made of: pictures, messages, slow jobs, panels of labeled controls."""

from __future__ import annotations

import html
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ipywidgets
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from spikelfp_lab.errors import SpikeLFPError

Report = Callable[[float, str], None]
WRAP = {"flex_flow": "row wrap", "align_items": "center"}  # layout of a row
GRID = {"grid_template_columns": "repeat(auto-fill, minmax(20em, 1fr))", "max_width": "64em"}
GRID |= {"grid_gap": "2px 12px"}  # of many controls: as many columns as there is room for
# JupyterLab writes the tabs that are not open in a gray that is too faint on theirs.
LOOK = """<style>
.spikelfp-panel .lm-TabBar-tab {--jp-ui-font-color2: var(--jp-ui-font-color1)}
.spikelfp-panel .dataframe :is(th, td) {padding: 0 6px; text-align: right}
.spikelfp-focus.jupyter-button {position: relative; overflow: visible}
.spikelfp-focus::after {content: ""; position: absolute; inset: calc(50% - 7px);
    border: 2px solid #d32f2f; border-radius: 50%; pointer-events: none}
</style>"""


class Picture:
    """A Matplotlib figure as a PNG in the page (``widget``); the figure itself is not kept."""

    def __init__(self) -> None:
        # No tooltip: the view of images in ipywidgets 8.1 breaks on one.
        layout = {"max_width": "100%", "align_self": "flex-start", "display": "none", "margin": "0"}
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


class Job(ipywidgets.HBox):
    """Slow work in a thread: a button that starts it, its progress, a button that cancels it.

    ``work`` is a function of ``report(share, text)``, which it calls often: there it is cancelled.
    ``error`` is why the last work failed.
    """

    running = traitlets.Bool(False)

    def __init__(self, label: str, tooltip: str, work: Callable[[Report], Any]):
        self.work, self.error = work, ""
        self._cancel, self._thread = threading.Event(), threading.Thread()
        self.begin = button(label, tooltip, self.start)
        self.end = button("Cancel", "Stop what is running; what is finished stays", self.cancel)
        self.progress = ipywidgets.FloatProgress(max=1.0, tooltip="Share of the work that is done")
        self.progress.layout.width, self.text = "8em", ipywidgets.Label()
        super().__init__([self.begin, self.end, self.progress, self.text], layout=WRAP)
        self._gray()

    def start(self) -> None:
        """Begin, unless it is running already."""
        if self.running:
            return
        self._cancel.clear()
        self._report(0.0, "")
        self.error, self.running = "", True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the work to end at its next report."""
        self._cancel.set()

    def wait(self) -> None:
        """Wait for the end; for tests and scripts."""
        if self._thread.ident:
            self._thread.join()

    @traitlets.observe("running")
    def _gray(self, _: Any = None) -> None:
        self.begin.disabled, self.end.disabled = self.running, not self.running
        self.progress.bar_style = "danger" if self.error else "info" if self.running else ""

    def _report(self, share: float, text: str) -> None:
        if self._cancel.is_set():
            raise Cancelled
        self.progress.value, self.text.value = float(share), text

    def _run(self) -> None:
        try:
            self.work(self._report)
            self.progress.value = 1.0
        except Cancelled:
            self.text.value = "cancelled"
        except Exception as error:  # any failure of a thread is to be seen in the widget
            self.error = str(error) or type(error).__name__
            self.text.value = f"Error: {self.error}"
        finally:
            self.running = False


class Panel(ipywidgets.VBox):
    """A view of a state: ``controls``, by the trait that each sets, their ``grid``, a ``message``.

    ``table`` has a row a control: trait, kind of control, label, tooltip.
    """

    def __init__(self, state: Any, table: Iterable[tuple[str, Any, str, str]]):
        self.state, self.message, self._following = state, Message(), False
        self.controls: dict[str, Any] = {}
        for trait, kind, label, tooltip in table:
            self.controls[trait] = made = control(kind, label, tooltip)
            made.observe(partial(self._set, trait), "value")
        self.controls["start_s"].layout.grid_area = "auto / 1 / auto / -1"  # a row of its own
        self.grid = ipywidgets.GridBox([*self.controls.values()], layout=GRID)
        self.look = ipywidgets.HTML(LOOK, layout={"display": "none"})
        super().__init__()
        self.add_class("spikelfp-panel")

    def _set(self, trait: str, change: Any) -> None:
        """Take a control's value; one that the state refuses is explained and set back."""
        if not self._following:
            with self.message.errors():
                setattr(self.state, trait, change["new"])
            self.follow()

    def close(self) -> None:
        """Close the panel and all within it."""
        close_within(self)
        super().close()

    def follow(self) -> None:
        """Let the controls show what the state has."""
        raise NotImplementedError

    def show_values(self, begin: float, end: float, **choices: tuple) -> None:
        """Put values, choices and the slider's limits into the controls; none is sent back."""
        self._following, slider = True, self.controls["start_s"]
        with slider.hold_trait_notifications():
            slider.min, slider.max = begin, end
            for trait in self.controls.keys() & self.state.trait_names():
                widget, value = self.controls[trait], getattr(self.state, trait)
                options = choices.get(trait)
                if options is not None and tuple(widget.options) != options:
                    widget.options = options
                # a rounding would come in the way of a hand on the slider
                rounded = isinstance(value, float) and abs(widget.value - value) < 1e-5
                if options != () and not rounded:
                    widget.value = value
        self._following = False


def button(label: str, tooltip: str, click: Callable[[], Any], **options: Any) -> ipywidgets.Button:
    """A button that calls ``click()``."""
    made = ipywidgets.Button(description=label, tooltip=tooltip, **options)
    made.on_click(lambda _: click())
    return made


def control(kind: Any, label: str, tooltip: str, **options: Any) -> Any:
    """A control of ``kind`` with its label and tooltip, both of which every control has."""
    look = {"style": {"description_width": "7em"}, "layout": {"width": "auto"}}
    return kind(description=label, tooltip=tooltip, **look, **options)


def close_within(widget: ipywidgets.Widget) -> None:
    """Close all within a widget, and what it and these are styled with."""
    parts = [getattr(widget, name, None) for name in ("layout", "style")]
    for part in [*getattr(widget, "children", ()), *parts]:
        if isinstance(part, ipywidgets.Widget):
            close_within(part)
            part.close()
