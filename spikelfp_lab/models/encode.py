"""encode: a model turns a session into latents; values, z-scoring, and identity by label."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import maximum_filter1d
from tqdm.auto import tqdm

from spikelfp_lab.configs import ModelConfig
from spikelfp_lab.errors import CheckpointError, ConfigError, DataError, SpikeLFPWarning
from spikelfp_lab.models.autoencoder import DIMS, VARIABLES, Autoencoder
from spikelfp_lab.models.device import on_device, pick_device
from spikelfp_lab.models.overlap import after, cover, overlap_mean, ramps
from spikelfp_lab.sessions import (
    TRAIN,
    as_dataset,
    channel_statistics,
    observed_mask,
    session_name,
    split_session,
    usable_runs,
)
from spikelfp_lab.signal import band_power, causal_power

Bands = tuple[tuple[float, float], ...]


def encode(
    model: Autoencoder, session: xr.Dataset | xr.DataTree, *, as_session: str | None = None,
    layer: int | None = None, space: Literal["own", "teacher"] = "own",
    window_s: float | None = None, device: str | torch.device = "auto",
    missing: Literal["nan", "silence"] = "nan", progress: bool = True,
) -> xr.DataArray:  # fmt: skip
    """Latents of a session, read in windows that cross no gap or trial's edge.

    Windows overlap by an eighth of their length, and one fades into the next there: read-outs of
    such latents are as good as with an overlap by half. Those of a causal model overlap by its
    reach, so that windows make no difference.

    A model of both modalities reads spikes, LFP, or both, whichever the session has.

    Parameters
    ----------
    as_session : str, optional
        Encode as if the data came from this session of the vocabulary. LFP of a session that the
        model does not know is z-scored by its own training time.
    layer : int, optional
        Latents after so many blocks, from 0 (the tokens); by default after the last.
    space : {"own", "teacher"}
        A student's own space, which all its sessions share; or that of its teacher's latents in the
        session it is encoded as, by the session's linear map.
    window_s : float, optional
        Length of a window, seconds; by default what the model was trained on.
    missing : {"nan", "silence"}
        Where some channels are NaN: latents are NaN, or these are silenced (at their mean).
    model, session, device, progress
        The session has the model's modality; see :func:`~spikelfp_lab.pretrain`.

    Returns
    -------
    DataArray, (time, latent) float32
        On the session's clock; NaN where there are no data. ``attrs``: ``session``, ``encoded_as``,
        ``modality``, the model's ``digest`` (in the teacher's space with the session's name), and
        ``scheme``, ``window_s``, ``seed`` of its split.

    Raises
    ------
    CheckpointError, ConfigError, DataError
        Unknown session; other units, channels (their order may differ), bins, modality; no such
        layer, no maps to a teacher; LFP that holds no power in the model's bands.

    Examples
    --------
    >>> from spikelfp_lab import ModelConfig
    >>> session = xr.Dataset(
    ...     {"lfp": (("time", "channel"), np.random.default_rng(0).normal(size=(500, 4)))},
    ...     coords={"time": 0.005 + 0.01 * np.arange(500), "channel": np.arange(4)},
    ...     attrs={"subject": "I", "session": "s01", "bin_size_s": 0.01},
    ... )
    >>> model = Autoencoder(ModelConfig(), modality="lfp", sessions={"I/s01": 4}, bin_size_s=0.01)
    >>> encode(model, session, window_s=1.0).sizes
    Frozen({'time': 500, 'latent': 64})
    """
    session = as_dataset(session)
    own_name = session_name(session)
    name = own_name if as_session is None else as_session
    if layer is not None and not 0 <= layer <= model.config.layers:
        raise ConfigError(f"layer is {layer}: the model has layers 0 to {model.config.layers}")
    if space not in ("own", "teacher") or (space == "teacher" and layer is not None):
        raise ConfigError(f"space is {space!r}; give 'own' or 'teacher', the latter without layer")
    if space == "teacher" and not model.teacher_width:
        raise ConfigError("the model has no maps to a teacher: distill(maps=True), or space='own'")
    if missing not in ("nan", "silence"):
        raise ConfigError(f"missing is {missing!r}; give 'nan' or 'silence'")
    reads = VARIABLES[model.modality]
    present = [variable for variable in reads if variable in session]
    if not present:
        what = f"the model reads {model.modality!r}, which session {own_name} does not have"
        raise CheckpointError(f"{what}; it has {sorted(map(str, session.data_vars))}")
    model.check_session(name, session.attrs["bin_size_s"])
    session = in_order_of(model, session, name, own_name)
    raw = values_of(session, reads, np.atleast_1d(model.sessions[name]), shape=model.config)
    modality: Any = model.modality if len(present) == len(reads) else present[0]
    used = {"scheme": "blocks", "window_s": 2.0, "seed": 0}
    split = {key: value for key, value in model.info.get("train", {}).items() if key in used}
    used |= split | ({"window_s": window_s} if window_s else {})
    channels = session.sizes["channel"] if "lfp" in present else 0
    if own_name in model.sessions:
        mean, std = (t.cpu().numpy() for t in model.statistics(own_name))
    else:
        mean, std = z_scoring(session, raw, channels * model.config.per_channel, **used)

    place = pick_device(device)
    values = torch.as_tensor((raw - mean) / std, dtype=torch.float32, device=place)
    length, usable = max(2, round(used["window_s"] / session.attrs["bin_size_s"])), session
    if channels and missing == "silence":  # the model takes NaN as the mean
        nothing = session["lfp"].isnull().all("channel")
        usable = session.assign(lfp=session["lfp"].fillna(0.0).where(~nothing))
    elif channels:
        _warn_missing(session, own_name)
    batch = 64 if place.type == "cuda" else 4  # on a CPU, more take no less time
    reach = model.reach(name) if model.config.causal else 0
    length = max(length, 2 * reach)
    shared = reach or max(1, length // 8)
    windows = cover(usable_runs(usable, variables=present), length, batch, shared)
    bar = tqdm(windows, desc=f"encode {own_name}", unit="batch", delay=2.0, disable=not progress)
    read = partial(model.latents, name=name, layer=layer, modality=modality)
    weigh = partial(after if reach else ramps, shared)
    with on_device(model, place):
        latents = overlap_mean(read, values, bar, weigh, model.config.width)
    digest = model.digest()
    if space == "teacher":
        digest += f" to {name}"
        center, scale = model.statistics(name, "teacher_")
        with torch.inference_mode():
            own = torch.as_tensor(latents, device=center.device)
            mapped = model.to_teacher[model.tokenizer.index(name)](own)
            latents = (mapped * scale + center).cpu().numpy()
    coords = {"time": session["time"], "latent": np.arange(latents.shape[1])}
    attrs = {"session": own_name, "encoded_as": name, "modality": modality}
    attrs |= {"digest": digest} | split | ({"causal": True} if model.config.causal else {})
    return xr.DataArray(latents, coords, ("time", "latent"), "latents", attrs)


def _warn_missing(session: xr.Dataset, name: str) -> None:
    """Say it when NaN in some channels costs more than a tenth of the latents."""
    empty = np.isnan(session["lfp"].to_numpy())  # (T, C)
    lost = np.asarray(empty.any(axis=1) & ~empty.all(axis=1))
    if lost.mean() <= 0.1:
        return
    share = 100 * empty[lost].mean(axis=0)
    worst = [i for i in np.argsort(-share, kind="stable")[:6] if share[i] > 0]
    labels = ", ".join(f"{session['channel'].to_numpy()[i]} ({share[i]:.0f} %)" for i in worst)
    text = f"session {name}: {(share > 0).sum()} of {len(share)} channels are NaN in bins where "
    text += f"others are not, so the latents of {lost.sum()} of {len(lost)} bins are NaN: {labels} "
    text += "of these. encode(..., missing='silence') silences them there."
    warnings.warn(text, SpikeLFPWarning, stacklevel=3)


def values_of(
    session: xr.Dataset, variables: Sequence[str], sizes: Sequence[int] | np.ndarray = (), *,
    shape: ModelConfig | None = None,
) -> np.ndarray:  # fmt: skip
    """Spikes, LFP or both side by side, (T, C); NaN where not observed, 0 where there is none.

    Of LFP, each channel's log power in the bands of a model of this ``shape`` follows its
    potential, filtered causally where the model is.
    """
    bands_hz = shape.bands_hz if shape else ()
    parts, observed = [], observed_mask(session)
    for variable, size in zip_longest(variables, sizes):
        if variable not in session:
            size = size * (1 + len(bands_hz)) if variable == "lfp" else size
            parts.append(np.zeros((session.sizes["time"], size), np.float32))
        elif variable == "lfp" and shape and bands_hz:
            parts.append(_with_power(session, bands_hz, shape.causal))
        elif variable == "spikes" and observed is not None:
            parts.append(np.where(observed, session[variable].to_numpy(), np.float32(np.nan)))
        else:
            parts.append(session[variable].to_numpy())
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def without_power(session: xr.Dataset, bands_hz: Bands) -> str:
    """Why an LFP holds no power in some band; empty where it does."""
    kind, bin_size_s = session["lfp"].attrs.get("kind", "LFP"), session.attrs["bin_size_s"]
    highest = max((high for _, high in bands_hz), default=0.0)
    if bands_hz and kind != "LFP":
        return f"its lfp is {kind}, no potential"
    if highest * bin_size_s >= 0.5:
        return f"bins of {bin_size_s:g} s hold nothing above {0.5 / bin_size_s:g} Hz"
    return ""


def suited(model: ModelConfig, sessions: Iterable[xr.Dataset]) -> tuple[ModelConfig, str]:
    """A preset's model, without band power where the LFP of some session has none; and why."""
    for session in sessions:
        if "lfp" in session and (reason := without_power(session, model.bands_hz)):
            return replace(model, bands_hz=()), f"{session_name(session)}: {reason}"
    return model, ""


def _with_power(session: xr.Dataset, bands_hz: Bands, causal: bool) -> np.ndarray:
    """(T, C * (1 + bands)): each channel's potential, then its log power in each band, unknown
    where the potential does not change for half a second: a silent channel has no rhythm.
    """
    if reason := without_power(session, bands_hz):
        what = f"Session {session_name(session)}: {reason}; the model reads log power in {bands_hz}"
        raise DataError(f"{what} Hz. Train one without: ModelConfig(bands_hz=()).")
    potential, rate_hz = (
        session["lfp"].transpose("time", "channel"),
        1 / session.attrs["bin_size_s"],
    )
    values = potential.to_numpy()[..., None]
    if causal:  # each stretch of the clock by itself, as a stream begins anew
        runs = usable_runs(session, variables=()).tolist()
        stretches = [values[start:stop, :, 0] for start, stop in runs]
        power = np.concatenate([causal_power(x, bands_hz, rate_hz=rate_hz) for x in stretches])
    else:
        bands = {str(i): band for i, band in enumerate(bands_hz)}
        power = band_power(potential, bands_hz=bands).to_numpy().reshape(*potential.shape, -1)
        moves = np.diff(values, axis=0, prepend=0) != 0
        silent = maximum_filter1d(moves.view(np.uint8), 1 + round(0.5 * rate_hz), axis=0) == 0
        power = np.where(silent, np.nan, power)
    return np.concatenate([values, power], axis=2).reshape(len(values), -1)


def z_scoring(
    session: xr.Dataset, values: np.ndarray, channels: int, **split: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (C,) of the last columns, channels, on training time, in the paper's scheme all;
    0 and 1 for counts.
    """
    mean, std = (each(values.shape[1], np.float32) for each in (np.zeros, np.ones))
    if channels:
        use = np.ones(len(values), bool)
        if split["scheme"] != "paper":
            use = split_session(session, **split).to_numpy() == TRAIN
        mean[-channels:], std[-channels:] = channel_statistics(values[:, -channels:], use)
    return mean, std


def labels_of(session: xr.Dataset) -> dict[str, list[str]]:
    """Dimension -> labels of a session's units and channels, as text."""
    dims = [dim for dim in DIMS.values() if dim in session.dims and dim in session.coords]
    return {dim: [str(label) for label in session[dim].to_numpy()] for dim in dims}


def in_order_of(
    model: Autoencoder, session: xr.Dataset, name: str, own_name: str | None = None
) -> xr.Dataset:
    """The session with units and channels in the order of the model's session ``name``, by label;
    by place for units of another session, and, which is said, for a model saved without labels.
    """
    found, known = labels_of(session), model.labels.get(name) or {}
    sizes = np.atleast_1d(model.sessions.get(name, ()))
    for variable, size in zip(VARIABLES[model.modality], sizes, strict=False):
        dim = DIMS[variable]
        if variable not in session:
            continue
        own = dim == "channel" or own_name in (None, name)
        if own and dim in known:
            given, wanted = found.get(dim, []), known[dim]
        else:
            given, wanted = ([*map(str, range(n))] for n in (session.sizes[dim], size))
        if own and dim not in known and model.by_place:
            model.by_place = False
            text = f"the model was saved without labels of its {dim}s: session {name} is matched "
            text += f"to it by place. Give the same {dim}s in the same order."
            warnings.warn(text, SpikeLFPWarning, stacklevel=3)
        missing = [label for label in wanted if label not in given]
        extra = [label for label in given if label not in wanted]
        if missing or extra:
            raise CheckpointError(
                f"session {name!r} has {len(wanted)} {dim}s in this model, the data have "
                f"{len(given)}; {len(missing)} are missing {_some(missing)}, {len(extra)} unknown "
                f"{_some(extra)}. Give session {own_name or name} with the model's {dim}s (sel, "
                "assign_coords where names alone differ), or finetune under another name."
            )
        if given != wanted:
            session = session.isel({dim: [given.index(label) for label in wanted]})
    return session


def _some(labels: list[str]) -> str:
    """The first six of some labels."""
    return f"[{', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''}]"
