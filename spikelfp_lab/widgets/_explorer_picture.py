"""The main picture of the session explorer: raster, LFP and behavior over one time axis, made once and then updated."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikelfp_lab.plots.session import BEHAVIOR_COLORS, round_number
from spikelfp_lab.plots.style import INK, label_with_units, pretty_units, style
from spikelfp_lab.widgets.explorer_state import POINTS, ExplorerState

SCREEN_DPI = 120  # with the style's 8 points: letters of 13 pixels
_SIZE = (8.2, 5.7)  # inches
_LEFT, _WIDTH = 0.092, 0.792
_PANELS = {"spikes": (0.685, 0.275), "lfp": (0.285, 0.365), "behavior": (0.085, 0.165)}
_LFP_COLOR = "#0928ad"
_GRAY = "#6d6d6d"
_NOTHING = "#ececec"  # where nothing was recorded
_NAMES = {"spikes": "spikes", "lfp": "LFP", "behavior": "behavior"}


class ExplorerPicture:
    """A figure that follows a state; a change of time moves its artists and makes no new ones.

    Attributes
    ----------
    figure : Figure
        Of no pyplot. Draw it within the package's style.

    Examples
    --------
    >>> from spikelfp_lab.cohorts.simulated import session
    >>> picture = ExplorerPicture()
    >>> picture.update(ExplorerState(session(1, duration_s=20, n_units=4, n_channels=3)))
    >>> [axes.get_ylabel() for axes in picture.figure.axes[:1]]
    ['Unit (4)\\nas recorded']
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=_SIZE)
        # A fixed layout: to compute one takes longer than to draw.
        self.figure.set_layout_engine("none")
        self._made: dict[str, tuple] = {}  # panel -> what its fixed parts were made for
        self._panels: dict[str, Axes] = {}
        self._beside: Axes | None = None  # of the color bar
        self._artists: dict[str, Any] = {}

    def update(self, state: ExplorerState) -> None:
        """Show what the state shows."""
        wanted = {
            "spikes": (state.name, state.unit_order),
            "lfp": (state.name, state.lfp_view, state.first_channel, state.n_channels),
            "behavior": (state.name, state.axes),
        }
        with style():
            for name, made in wanted.items():
                if self._made.get(name) != made:
                    # Noted when it is done, so that a failure is not taken for a finished panel.
                    self._made.pop(name, None)
                    self._make(name, state)
                    self._made[name] = made
            self._move(state)

    def _make(self, name: str, state: ExplorerState) -> None:
        if name in self._panels:
            self._panels.pop(name).remove()
        if name == "lfp" and self._beside is not None:
            self._beside.remove()
            self._beside = None
        bottom, height = _PANELS[name]
        axes = self._panels[name] = self.figure.add_axes((_LEFT, bottom, _WIDTH, height))
        if name == "behavior":
            axes.set_xlabel("Time (s)")
        else:
            axes.tick_params(labelbottom=False)
        self._artists[f"no {name}"] = axes.text(
            0.5, 0.5, "", transform=axes.transAxes, ha="center", va="center", color=_GRAY, fontsize=9
        )  # fmt: skip
        if name in state.missing:
            axes.set_yticks([])
            axes.set_facecolor("#f5f5f5")
            axes.set_ylabel(_NAMES[name][:1].upper() + _NAMES[name][1:], color=_GRAY)
        elif name == "spikes":
            self._make_raster(state)
        elif name == "behavior":
            self._make_behavior(state)
        elif state.lfp_view == "traces":
            self._make_traces(state)
        else:
            self._make_spectrogram(state)
        # Names from a file are text, whatever dollars are in them.
        legend = axes.get_legend()
        for text in [axes.yaxis.label, *axes.texts, *(legend.get_texts() if legend else ())]:
            text.set_parse_math(False)
        # One column of labels, however wide the tick labels are.
        axes.yaxis.set_label_coords(-0.072, 0.5)

    def _make_raster(self, state: ExplorerState) -> None:
        axes, order = self._panels["spikes"], state.order()
        labels = state.dataset["unit"].values.astype(str)[order]
        self._artists["spikes"] = _image(axes, "Greys", vmin=0, vmax=1)
        axes.set_ylim(order.size - 0.5, -0.5)
        _name_ends(axes, np.arange(order.size), labels)
        how = state.unit_order if state.unit_order == "as recorded" else f"by {state.unit_order}"
        axes.set_ylabel(f"Unit ({order.size})\n" + how.replace("preferred ", ""))

    def _make_traces(self, state: ExplorerState) -> None:
        axes, chosen = self._panels["lfp"], state.channels
        step, _ = self._steps(state)
        offsets = -step * np.arange(chosen.size)
        # All in one line with breaks: the renderer then merges what falls on one pixel.
        thin = 0.6 if chosen.size <= 32 else 0.35
        self._artists["lfp"] = axes.plot(
            [], [], color=_LFP_COLOR, linewidth=thin, solid_joinstyle="bevel"
        )[0]
        axes.set_ylim(offsets[-1] - step, step)
        _name_ends(axes, offsets, state.dataset["channel"].values[chosen].astype(str))
        axes.set_ylabel(f"{_kind(state)}\n({chosen.size} of {state.dataset.sizes['channel']})")
        length = round_number(step * max(1, chosen.size / 12))
        low = offsets[-1] - 0.6 * step
        bar = axes.get_yaxis_transform()
        axes.plot([1.012] * 2, [low, low + length], transform=bar, color=INK, linewidth=1.5, clip_on=False)  # fmt: skip
        units = pretty_units(str(state.dataset["lfp"].attrs.get("units", "")))
        axes.text(1.02, low + length / 2, f"{length:g} {units}".strip(), transform=bar, va="center")

    def _make_spectrogram(self, state: ExplorerState) -> None:
        axes = self._panels["lfp"]
        low, high = state.spectrogram_limits()
        image = _image(axes, "viridis", vmin=low, vmax=high)
        self._artists["lfp"] = image
        axes.set_ylim(0, 0.5 / state.bin_size_s)
        label = state.dataset["channel"].values[state.first_channel]
        axes.set_ylabel(f"Frequency (Hz)\nof {label}")
        bottom, height = _PANELS["lfp"]
        beside = self._beside = self.figure.add_axes(
            (_LEFT + _WIDTH + 0.012, bottom + height / 6, 0.014, height / 1.5)
        )
        units = pretty_units(str(state.dataset["lfp"].attrs.get("units", "")))
        self.figure.colorbar(image, cax=beside)
        label = f"Power (dB re 1 {units}²/Hz)" if units else "Power (dB)"
        beside.set_ylabel(label, parse_math=False)

    def _make_behavior(self, state: ExplorerState) -> None:
        axes = self._panels["behavior"]
        names = state.dataset["behavior_dim"].values.tolist()
        self._artists["behavior"] = [
            # A color belongs to an axis, whichever others are shown.
            axes.plot([], [], color=BEHAVIOR_COLORS[names.index(name) % len(BEHAVIOR_COLORS)], label=name)[0]
            for name in state.axes
        ]  # fmt: skip
        label = label_with_units("behavior", state.dataset["behavior"].attrs)
        axes.set_ylabel(textwrap.fill(label, 18))
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.06), handlelength=1.2, borderpad=0, labelspacing=0.3
        )  # fmt: skip

    def _move(self, state: ExplorerState) -> None:
        first, last = state.bins
        stop = state.start_s + state.span_s
        for name, axes in self._panels.items():
            axes.set_xlim(state.start_s, stop)
            self._artists[f"no {name}"].set_text(
                f"no {_NAMES[name]} in this session"
                if name in state.missing
                else "" if last > first else "nothing recorded in this stretch"
            )  # fmt: skip
        if "spikes" not in state.missing:
            self._move_raster(state)
        if "lfp" not in state.missing and state.lfp_view == "traces":
            self._move_traces(state)
        elif "lfp" not in state.missing:
            power = state.spectrogram()
            edge = (power["frequency"].values[1] - power["frequency"].values[0]) / 2
            rows = (power["frequency"].values[0] - edge, power["frequency"].values[-1] + edge)
            _set_image(self._artists["lfp"], power.values, _edges(power), rows)
        if "behavior" not in state.missing:
            self._move_behavior(state)

    def _move_raster(self, state: ExplorerState) -> None:
        raster = state.raster()
        counts = raster.values
        spiking = counts[counts > 0]  # NaN is not
        most = max(float(np.percentile(spiking, 99.5)), 1.0) if spiking.size else 1.0
        # One spike must be seen where there are two at most, and not hide what is busy elsewhere.
        floor = max(0.22, 1.6 / (most + 2))
        depth = np.where(counts > 0, floor + (1 - floor) * counts / most, counts)
        _set_image(self._artists["spikes"], depth, _edges(raster), (-0.5, len(depth) - 0.5))

    def _move_traces(self, state: ExplorerState) -> None:
        traces = state.traces()
        step, mean = self._steps(state)
        count = traces.sizes["channel"]
        lines = np.full((count, traces.sizes["time"] + 1), np.nan)
        lines[:, :-1] = traces.values.T - mean[:, None] - step * np.arange(count)[:, None]
        time = np.append(traces["time"].values, np.nan)
        self._artists["lfp"].set_data(np.tile(time, count), lines.ravel())

    def _move_behavior(self, state: ExplorerState) -> None:
        lines = state.behavior()
        time, values = lines["time"].values, lines.values
        # Thinner where it is a band of extrema, which is also drawn twice as fast.
        width = 1.2 if state.span_s <= POINTS * state.bin_size_s else 0.7
        for line, column in zip(self._artists["behavior"], values.T, strict=True):
            line.set(data=(time, column), linewidth=width)
        names = state.dataset["behavior_dim"].values.tolist()
        mean, sd = (
            part[[names.index(axis) for axis in state.axes]] for part in state.scale("behavior")
        )
        # The same limits throughout the session, but for what goes beyond them.
        bounds = np.concatenate([mean - 3 * sd, mean + 3 * sd, values.ravel()])
        bounds = bounds[np.isfinite(bounds)]
        if bounds.size:
            low, high = float(bounds.min()), float(bounds.max())
            margin = 0.04 * (high - low) or 1.0
            self._panels["behavior"].set_ylim(low - margin, high + margin)

    def _steps(self, state: ExplorerState) -> tuple[float, np.ndarray]:
        """Distance between traces, and what is taken off each so that it lies in its place."""
        mean, sd = state.scale("lfp")
        spread = sd[np.isfinite(sd) & (sd > 0)]
        step = 5 * float(np.median(spread)) if spread.size else 1.0
        return step, np.nan_to_num(mean[state.channels])


def _image(axes: Axes, colors: str, *, vmin: float, vmax: float) -> Any:
    image = axes.imshow(
        np.zeros((1, 1)), cmap=colors, vmin=vmin, vmax=vmax, aspect="auto", interpolation="nearest", origin="lower"
    )  # fmt: skip
    image.set_cmap(image.get_cmap().with_extremes(bad=_NOTHING))
    axes.set_facecolor(_NOTHING)
    axes.grid(False)
    return image


def _set_image(
    image: Any, values: np.ndarray, columns: tuple[float, float], rows: tuple[float, float]
) -> None:
    # AxesImage.set_extent would also move the limits of the axes.
    axes = image.axes
    xlim, ylim = axes.get_xlim(), axes.get_ylim()
    image.set_data(np.ma.masked_invalid(values))
    image.set_extent((*columns, *rows))
    axes.set(xlim=xlim, ylim=ylim)


def _edges(array: Any) -> tuple[float, float]:
    """Outer edges of columns whose middles are ``time``."""
    half = array.attrs["width_s"] / 2
    return array["time"].values[0] - half, array["time"].values[-1] + half


def _name_ends(axes: Axes, places: np.ndarray, labels: np.ndarray) -> None:
    """Tick labels of the first and the last row only: between them there is no room."""
    ends = sorted({0, labels.size - 1})
    short = [label if len(label) <= 7 else "…" + label[-6:] for label in labels[ends].tolist()]
    axes.set_yticks(places[ends], short, parse_math=False)


def _kind(state: ExplorerState) -> str:
    kind = str(state.dataset["lfp"].attrs.get("kind", "LFP"))
    return textwrap.fill(kind[:1].upper() + kind[1:], 28)
