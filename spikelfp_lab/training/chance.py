"""Does a teacher know more of a session's spikes than chance? Its latents are asked.

Windows are encoded with 25 % of the counts and 60 % of the tokens hidden, as in training. A ridge
from each moment's latent to the counts hidden in that moment, fitted on training time, must
explain more on validation time than each unit's mean rate does. Random weights pass some of the
shown counts on and beat that too, so it must explain half a percent of the variance more, and a
quarter more, than the best of three networks of the same shape with random weights.
"""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spikelfp_lab.configs import MaskConfig, TrainConfig
from spikelfp_lab.errors import DataError
from spikelfp_lab.models.autoencoder import Autoencoder
from spikelfp_lab.models.device import autocast, on_device, own_random_state
from spikelfp_lab.models.encode import in_order_of
from spikelfp_lab.training.batches import SessionWindows, prepare, spread

HIDDEN, DROPPED = 0.25, MaskConfig(ratio=0.6)
LEAST, CLEARLY = 0.005, 0.25  # more than random weights explain: variance, share of theirs
PENALTIES = (0.1, 1.0, 10.0)  # in variances of a feature; the best one counts
MOST_WINDOWS = 512
FEWEST_WINDOWS = 256  # of validation time: fewer are read again, with other counts hidden


def hidden_r2(model: Autoencoder, windows: SessionWindows) -> float:
    """Explained variance of hidden counts on validation time, the median over units; 0 is each
    unit's mean rate. ``model`` is on the windows' device, in eval mode.
    """
    tiles = windows.train[np.flatnonzero(np.diff(windows.train // windows.length, prepend=-1))]
    generator = torch.Generator(windows.values.device).manual_seed(0)
    fitted = _collect(model, windows, spread(tiles, MOST_WINDOWS), generator)
    often = np.tile(windows.val[:MOST_WINDOWS], -(-FEWEST_WINDOWS // len(windows.val)))
    tested = _collect(model, windows, often, generator)
    return max(_median_r2(fitted, tested, penalty) for penalty in PENALTIES)


@own_random_state()
def random_r2(model: Autoencoder, windows: SessionWindows) -> float:
    """The best of three networks of the same shape with random weights."""
    options = {"sessions": {windows.name: windows.size}, "bin_size_s": windows.bin_size_s}
    found = []
    for seed in range(3):
        torch.manual_seed(1_000_000 + seed)
        other = Autoencoder(model.config, modality="spikes", **options)
        found.append(hidden_r2(other.to(windows.values.device).eval(), windows))
    return max(found)


def _collect(
    model: Autoencoder, windows: SessionWindows, starts: np.ndarray, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (n, d), counts (n, U) and which are hidden, of moments with a token that is shown."""
    found, name, patches = [], windows.name, len(model.tokenizer.rows(windows.name))
    for some in np.array_split(starts, -(-len(starts) // 16)):
        values = windows.cut(some)["values"]  # (B, T, C)
        draw = torch.rand(values.shape, generator=generator, device=values.device)
        hidden = (draw < HIDDEN) & torch.isfinite(values)
        keep, _ = model.draw_mask(values, name, mask=DROPPED, generator=generator)  # (B, K)
        step = keep // patches
        with torch.inference_mode(), autocast(values.device):
            tokens = model.tokenizer(values.masked_fill(hidden, torch.nan), name, keep=keep)
            latents = model.transformer(tokens, step).float()  # (B, K, d)
        mean, where = latents.new_zeros(*values.shape[:2], latents.shape[2]), step.unsqueeze(-1)
        mean.scatter_reduce_(1, where.expand_as(latents), latents, "mean", include_self=False)
        shown = torch.zeros_like(hidden[..., 0]).scatter(1, step, True)
        found.append([part[shown].cpu() for part in (mean, values.nan_to_num(), hidden)])
    latents, counts, hidden = map(torch.cat, zip(*found, strict=True))
    return latents.double(), counts.double(), hidden


def _median_r2(fitted: tuple[Tensor, ...], tested: tuple[Tensor, ...], penalty: float) -> float:
    """Median over units of 1 - error / error of the mean rate, where there are spikes."""
    center, scale = fitted[0].mean(0), fitted[0].std(0) + 1e-9
    (x, counts, hidden), (x_val, counts_val, hidden_val) = (
        ((latents - center) / scale, *rest) for latents, *rest in (fitted, tested)
    )
    gains = []
    for unit in range(counts.shape[1]):
        rows, rows_val = hidden[:, unit], hidden_val[:, unit]
        y, y_val = counts[rows, unit], counts_val[rows_val, unit]
        if len(y) < 2 or not bool(y.any()) or not bool(y_val.any()):
            continue
        z, rest = x[rows] - x[rows].mean(0), y_val - y.mean()
        gram = z.T @ z / len(z) + penalty * torch.eye(z.shape[1], dtype=z.dtype)
        weights = torch.linalg.solve(gram, z.T @ (y - y.mean()) / len(z))
        error = rest - (x_val[rows_val] - x[rows].mean(0)) @ weights
        gains.append(1 - float(error.square().mean() / rest.square().mean()))
    return float(np.median(gains)) if gains else 0.0


def behavior_r2(model: Autoencoder, windows: SessionWindows) -> float:
    """R² on validation windows of the behavior that a model with a head for it gives."""
    values, wanted = windows.cut(spread(windows.val)).values()
    with torch.inference_mode(), autocast(values.device):
        error = model.behavior_loss(model.latents(values, windows.name), wanted)
    known = wanted[torch.isfinite(wanted).all(dim=-1)]
    return float(1 - error / known.square().mean().clamp(min=1e-9))


def refuse_chance(
    teacher: Autoencoder, session: xr.Dataset, name: str, train: TrainConfig, device: torch.device
) -> None:
    """Raise a DataError for a teacher that has nothing to teach, not even behavior it learned."""
    own, session = teacher.info.get("train", {}), in_order_of(teacher, session, name)
    split = {key: own[key] for key in ("scheme", "window_s", "seed") if key in own}
    learned = teacher.behavior_head is not None and "behavior" in session
    options = {"train": replace(train, **split), "behavior": learned, "device": device}
    windows = prepare(session, name, modality="spikes", **options)
    with on_device(teacher, device):
        known, random = hidden_r2(teacher, windows), random_r2(teacher, windows)
        clearly = max(random, 0) + max(LEAST, CLEARLY * random)
        if known > clearly or (learned and behavior_r2(teacher, windows) > 0):
            return
    raise DataError(
        f"the teacher is no better than chance on session {name}: from its latents a linear "
        f"read-out explains {100 * known:.2f} % of hidden spike counts (0 is each unit's mean "
        f"rate), from those of random weights {100 * random:.2f} %. It has nothing to teach. "
        "Train it longer, finetune(teacher, session), or distill(..., force=True)."
    )
