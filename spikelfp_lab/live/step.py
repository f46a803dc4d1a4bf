"""One frame of a causal LFP model: no loop over time, and none over the past.

Written once for numpy, whose calls cost least at this size, and for torch, from which it is
exported: ``xp`` is one of the two.
"""

from typing import Any

import numpy as np
import torch
from scipy import signal

from spikelfp_lab.analysis import ReadOut
from spikelfp_lab.models import Autoencoder
from spikelfp_lab.models.transformer import NORM_EPS, ROTARY_BASE
from spikelfp_lab.signal.power import causal_filters

State = dict[str, Any]
TINY = float(np.finfo(np.float32).tiny)


class Step:
    """Band power, z-scoring, tokenizer, blocks and read-out of a causal model, for one frame of one
    session's channels.

    Rings hold the keys and values of the last ``context_s``: a step costs the same on the first day
    and on the tenth. ``mean`` and ``std`` (channel * (1 + band),) may be set.
    """

    def __init__(
        self, model: Autoencoder, name: str, readout: ReadOut | None = None, *, xp: Any = np
    ):
        config, tokenizer = model.config, model.tokenizer
        self.xp, self.context, self.heads = xp, model.transformer.past, config.heads
        self.each, self.width = config.per_channel, config.width
        self.channels, self.patch = int(model.sessions[name]), tokenizer.patch  # type: ignore[arg-type]
        self.patches, self.past = len(tokenizer.rows(name)), tokenizer.past
        self.mean, self.std = map(self._array, model.statistics(name))
        # tap j of token n reads token n + j * dilation of those that are known
        taps = torch.arange(config.kernel) * config.dilation
        self.taps = self._array(torch.arange(self.patches)[:, None] + taps)
        self.kernel = self._array(tokenizer.conv.weight.permute(2, 1, 0).flatten(0, 1))
        self.bias, self.space = map(self._array, (tokenizer.conv.bias, tokenizer.rows(name)))
        self.maps = self._array(tokenizer.maps[tokenizer.index(name)]) if tokenizer.affine else None
        half = torch.arange(0, config.width // config.heads, 2, dtype=torch.float64)
        self.frequency = self._array(ROTARY_BASE ** (-half / (config.width // config.heads)))
        self.ring = self._array(torch.arange(self.context * self.patches))
        self.blocks, blocks = [], list(model.transformer.blocks)
        block: Any
        for block in blocks:
            linear = (block.attention.qkv, block.attention.out, block.mlp.gate_up, block.mlp.down)
            parts = [part for each in linear for part in (each.weight.T.contiguous(), each.bias)]
            norms = block.norm1.weight, block.norm2.weight
            self.blocks.append([*map(self._array, (*norms, *parts))])
        self.norm = self._array(model.transformer.norm.weight)
        if config.bands_hz:
            filters = causal_filters(config.bands_hz, 1 / model.bin_size_s)
            self.still, self.settle = filters.still, filters.settle
            passes = zip(*map(_linear, filters.sections), strict=True)
            self.passes = [self._array(torch.as_tensor(np.stack(each))) for each in passes]
            smooth = map(torch.as_tensor, _linear(filters.smoothing))
            self.smoothing = [*map(self._array, smooth)]
        self.lags = 0 if readout is None else len(readout.ridge.lags)
        if readout is not None:
            ridge = readout.ridge
            weights = ridge.weights / ridge.scale[:, None]
            rest = ridge.intercept - np.einsum("f,lfa->a", ridge.mean, weights)
            self.weights, self.rest = (self._array(torch.as_tensor(x)) for x in (weights, rest))

    def _array(self, values: torch.Tensor) -> Any:
        copied = values.detach().cpu().clone()
        return copied.numpy() if self.xp is np else copied

    def begin(self) -> State:
        """The state before the first frame: name -> array."""
        xp, double = self.xp, {"dtype": self.xp.float64}
        ring = self.heads, self.context * self.patches, self.width // self.heads
        state: State = {"frames": xp.zeros((), dtype=xp.int64)}
        for layer in range(len(self.blocks)):
            for what in ("keys", "values"):
                state[f"{what}_{layer}"] = xp.zeros(ring, dtype=xp.float32)
        state["tokens"] = xp.zeros((self.past, self.patch), dtype=xp.float32)
        if self.each > 1:
            bands, channels = self.each - 1, self.channels
            state |= {name: xp.full((channels,), np.nan, **double) for name in ("first", "last")}
            for name in ("moved", "silent"):  # frames since it did, since it was
                state[name] = xp.ones((channels,), dtype=xp.int64)
            for name, known in (("passed", self.passes[0]), ("smoothed", self.smoothing[0])):
                state[name] = xp.zeros((bands, channels, known.shape[-1]), **double)
        if self.lags > 1:
            state["latents"] = xp.full((self.lags - 1, self.width), np.nan, **double)
        return state

    def __call__(self, frame: Any, state: State) -> tuple[Any, Any]:
        """Latent (d,) and behavior (axis,), NaN until the read-out's past is there, of a frame
        (channel,), NaN where unknown; the state becomes the next one.
        """
        xp, at = self.xp, state["frames"]
        x = self._tokens(self._inputs(frame, state), state)
        angle = at * self.frequency  # float64: in float32 it would be lost within hours
        turn = self._single(xp.cos(angle)), self._single(xp.sin(angle))
        start = at % self.context * self.patches
        filled = self.ring < (at + 1) * self.patches
        for layer, weights in enumerate(self.blocks):
            x = self._block(weights, x, turn, start, filled, state, layer)
        state["frames"] = at + 1
        latent = self._normed(x, self.norm).mean(0)
        return latent, self._behavior(latent, state)

    def _single(self, values: Any) -> Any:
        return self.xp.asarray(values, dtype=self.xp.float32)

    def _inputs(self, frame: Any, state: State) -> Any:
        """(C * each,) z-scored potentials, each with its log power, 0 where unknown."""
        xp, values = self.xp, self._single(frame)
        if self.each > 1:
            last, (a, b, c, d), (e, f, g, h) = state["last"], self.passes, self.smoothing
            held = xp.where(xp.isfinite(frame), frame, last)
            first = xp.where(xp.isnan(state["first"]), held, state["first"])
            x = xp.where(xp.isnan(held), 0.0, held - first)
            y = (state["passed"] @ c[..., None])[..., 0] + d[:, None] * x
            square = 2 * y * y
            power = state["smoothed"] @ g + h * square
            state["passed"] = state["passed"] @ a + x[:, None] * b[:, None]
            state["smoothed"] = state["smoothed"] @ e + square[..., None] * f
            moved = xp.where(xp.isfinite(held) & (held != last), 0, state["moved"])
            silent = xp.where(moved >= self.still, 0, state["silent"])
            power = self._single(xp.log(xp.where(power < TINY, TINY, power)))
            power = xp.where(silent < self.settle, np.nan, power)
            state |= {"first": first, "last": held, "moved": moved + 1, "silent": silent + 1}
            values = xp.concatenate([values[None], power]).T.reshape(-1)
        z = (values - self.mean) / self.std
        return xp.where(xp.isnan(z), 0.0, z)

    def _tokens(self, values: Any, state: State) -> Any:
        """Tokens (P, d) of a frame: the causal convolution along the token axis."""
        xp, padding = self.xp, self.patches * self.patch - len(values)
        padded = xp.concatenate([values, xp.zeros((padding,), dtype=xp.float32)])
        known = xp.concatenate([state["tokens"], padded.reshape(self.patches, self.patch)])
        state["tokens"] = known[self.patches :]
        tokens = known[self.taps].reshape(self.patches, -1) @ self.kernel + self.bias
        if self.maps is not None:
            tokens = (tokens[:, None] @ self.maps)[:, 0]
        return tokens + self.space

    def _normed(self, x: Any, weight: Any) -> Any:
        return x * (weight / self.xp.sqrt((x * x).mean(-1) + NORM_EPS)[:, None])

    def _block(
        self, weights: list, x: Any, turn: tuple, start: Any, filled: Any, state: State, layer: int
    ) -> Any:
        """Tokens (P, d) after a block, whose rings take their keys and values."""
        xp, (norm1, norm2, qkv, qkv_0, out, out_0, up, up_0, down, down_0) = self.xp, weights
        cos, sin = turn
        made = (self._normed(x, norm1) @ qkv + qkv_0).reshape(len(x), 3, self.heads, -1)
        first, second = made[:, :2, :, : len(cos)], made[:, :2, :, len(cos) :]
        turned = [first * cos - second * sin, first * sin + second * cos]
        turned = xp.moveaxis(xp.concatenate(turned, -1), 0, 2)  # (2, heads, P, d / heads)
        keys = self._write(state, f"keys_{layer}", start, turned[1])
        values = self._write(state, f"values_{layer}", start, xp.moveaxis(made[:, 2], 0, 1))
        scores = turned[0] @ xp.moveaxis(keys, 1, 2) * (2 * len(cos)) ** -0.5
        scores = xp.where(filled, scores, -np.inf)
        scores = xp.exp(scores - xp.amax(scores, -1, keepdims=True))
        attended = scores @ values / scores.sum(-1)[..., None]
        x = x + xp.moveaxis(attended, 0, 1).reshape(len(x), -1) @ out + out_0
        gated = self._normed(x, norm2) @ up + up_0
        gate, value = gated[:, : len(down)], gated[:, len(down) :]
        return x + gate / (1 + xp.exp(-gate)) * value @ down + down_0

    def _write(self, state: State, name: str, start: Any, new: Any) -> Any:
        """The ring (heads, context * P, d / heads) with new tokens from ``start`` on."""
        if self.xp is np:
            state[name][:, start : start + self.patches] = new
        else:  # what is exported changes nothing in place
            state[name] = state[name].index_copy(1, start + self.ring[: self.patches], new)
        return state[name]

    def _behavior(self, latent: Any, state: State) -> Any:
        """(axis,) behavior from this latent and those before it."""
        xp = self.xp
        if not self.lags:
            return xp.zeros((0,), dtype=xp.float64)
        known = xp.asarray(latent, dtype=xp.float64)[None]
        if self.lags > 1:
            known = xp.concatenate([state["latents"], known])
            state["latents"] = known[1:]
        return (known[..., None] * self.weights).sum((0, 1)) + self.rest


def _linear(sections: np.ndarray) -> tuple[np.ndarray, ...]:
    """Second-order sections as one linear map: state @ a + x * b is the next state, state @ c + d *
    x the output.
    """
    n = 2 * len(sections)
    states = np.eye(n).reshape(n, -1, 2).transpose(1, 0, 2)
    c, after = signal.sosfilt(sections, np.zeros((n, 1)), zi=states)
    d, given = signal.sosfilt(sections, np.ones((1, 1)), zi=np.zeros((len(sections), 1, 2)))
    return after.transpose(1, 0, 2).reshape(n, n), given.reshape(n), c[:, 0], np.asarray(d[0, 0])
