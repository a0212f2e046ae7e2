"""Intents of demonstrations: for each frame one of K answers, which the demonstrator kept.

What follows in a demonstration tells what the demonstrator is at: which thing moves, and where it
comes to rest. What follows is a mixture of K linear functions of what is seen, and the function
stays the same from frame to frame but for rare changes. Functions and intents are found in turn,
as in a hidden Markov model (Baum-Welch; Rabiner 1989), from several random starts and with a
temperature that falls (Ueda and Nakano 1998), since each start ends in another optimum. Nothing
but the demonstrations is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ebm_policy_ros.energy.model_config import ModelConfig
from ebm_policy_ros.energy.models import build_model
from ebm_policy_ros.training.data.batches import Batches, Frames, split_episodes
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.mirror import Mirrors
from ebm_policy_ros.training.learning.checkpoint import CheckpointError
from ebm_policy_ros.util.quoting import cut

# What follows is what is seen after these shares of the median length of a demonstration.
_AHEAD = (0.25, 0.5)
# Frames of a median demonstration and rows that the functions are fitted to: frames close in time
# add no information.
_SAMPLES, _ROWS = 50, 20_000
# Random starts, rounds of each, and those in which the temperature falls from _HOTTEST to 1.
_STARTS, _ROUNDS, _COOLING, _HOTTEST = 3, 60, 30, 50.0
# Least standard deviation of what follows around its function, in standard deviations of it all.
_NARROWEST = 0.03
# Least standard deviation of what varies at all.
_STILL = 1e-6
# Weight of the ridge, in rows.
_RIDGE = 1.0
# Bounds of the probability that the intent is drawn anew, and the one that the rounds begin with.
_RAREST, _OFTENEST, _USUAL = 1e-4, 0.1, 0.01
# The last intent is that of a frame up to this part of a median demonstration earlier.
_EARLIER = 8
# Share of frames that are told no last intent, as the first ones after a start are.
_UNTOLD = 0.1
# Frames encoded at a time.
_PART = 1024
_TINY = 1e-30


def intents_of(
    file: Path,
    config: ModelConfig,
    data: Dataset,
    shapes: Mapping[str, tuple[int, ...]],
    held_out: float,
    seed: int,
    device: torch.device,
    mirrors: Mirrors,
    resume: bool = False,
) -> npt.NDArray[np.float32]:
    """Return what batches tell of the intents: labelled, or found now or earlier in the run.

    Args:
        file: File of the intents that were found.
        config: Settings of the model, with the number of intents.
        data: Demonstrations, M frames.
        shapes: Shape of each stream.
        held_out: Share of the episodes that the functions are not fitted to.
        seed: Seed of all randomness.
        device: Device to encode on.
        mirrors: Mirrors, whose images of the demonstrations have intents too.
        resume: True to read the file, False to write it.

    Returns:
        Last and present intent of each frame of all images, (M * images, 2).

    Raises:
        CheckpointError: If the file does not hold the intents of these demonstrations.
        ValueError: If the model has fewer intents than are labelled, or mirrors exchange labels
            that there aren't.
    """
    if data.intents is None and any(mirror.intents for mirror in mirrors.mirrors):
        raise ValueError(
            "mirror.intents: these demonstrations have no labelled intents; remove it"
        )
    episodes = mirrors.episodes(data.episodes)
    if data.intents is not None:
        present = mirrors.intents(data.intents)
        if present.max() >= config.intents:
            raise ValueError(
                f"model.intents: got {config.intents}, but the labels go up to {present.max()}; "
                f"choose {present.max() + 1}"
            )
    elif resume:
        present = _read(file, len(episodes), config.intents)
    else:
        trained, _ = split_episodes(data.episodes, held_out, seed, data.corrections)
        known = mirrors.images(trained, len(data.actions))
        seen = _Seen(config, data, shapes, known, seed, device, mirrors)
        present = find_intents(seen, episodes, known, config.intents, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial.npy")
        np.save(partial, present)
        partial.replace(file)
    executed = max(1, data.actions.shape[1] // 2)
    return observed_intents(present, episodes, executed, seed)


def _read(file: Path, frames: int, count: int) -> npt.NDArray[np.int64]:
    try:
        found = np.lib.format.open_memmap(file, mode="r")  # type: ignore[no-untyped-call]
        if found.shape != (frames,) or found.dtype != np.int64:
            raise ValueError(f"{found.dtype} of shape {found.shape}, expected {frames} intents")
        found = np.array(found)
        if not 0 <= found.min() <= found.max() < count:
            raise ValueError(f"intents up to {found.max()}, expected 0 to {count - 1}")
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{file}: {cut(error)}; start the run anew in another --out"
        ) from None
    return found


def observed_intents(
    present: npt.NDArray[np.int64], episodes: npt.NDArray[np.int64], executed: int, seed: int
) -> npt.NDArray[np.float32]:
    """Return what a batch tells of its intents: an earlier one, -1 for none, and the present one.

    Args:
        present: Intent of each frame, shape (M,).
        episodes: Episode of each frame, shape (M,); those of an episode are consecutive.
        executed: Frames from one decision to the next.
        seed: Seed of the earlier frames, and of those that are told no earlier intent.

    Returns:
        Shape (M, 2).
    """
    rng, frames = np.random.default_rng(seed), np.arange(len(present))
    usual = int(np.median(np.unique(episodes, return_counts=True)[1]))
    # With the last frame's intent alone, it would be learned that intents change only at the very
    # moments at which demonstrators changed; a policy that misses one would never change.
    before = frames - rng.integers(executed, max(executed, usual // _EARLIER) + 1, len(frames))
    same = (before >= 0) & (episodes[before] == episodes)
    last = np.where(same & (rng.random(len(frames)) >= _UNTOLD), present[before], -1)
    return np.stack((last, present), axis=1).astype(np.float32)


class _Seen:
    """Frames as vectors: normalised measurements, features, and the grey values of small images.

    They are what the nearest-neighbour baseline compares.
    """

    def __init__(
        self,
        config: ModelConfig,
        data: Dataset,
        shapes: Mapping[str, tuple[int, ...]],
        known: Frames,
        seed: int,
        device: torch.device,
        mirrors: Mirrors,
    ) -> None:
        horizon, size = data.actions.shape[1:]
        usual = ModelConfig(streams=config.streams)
        plain = replace(
            config,
            kind="nearest_neighbour",
            intents=0,
            head=usual.head,
            flow_steps=usual.flow_steps,
        )
        model = build_model(plain, shapes, horizon * size).to(device)
        streams = tuple(model.encoder.shapes)
        self._batches = Batches(data, streams, _PART, seed, device, mirrors)
        model.encoder.fit(self._batches.measured(known))
        self._encoder = model.encoder

    def __call__(self, frames: Frames) -> Tensor:
        """Encode frames to vectors, (N, F), on the CPU."""
        with torch.no_grad():
            parts = [
                self._encoder(self._batches.observation(part)).double().cpu()
                for part in np.array_split(frames, math.ceil(len(frames) / _PART))
            ]
        return torch.cat(parts)


def find_intents(
    seen: Callable[[Frames], Tensor],
    episodes: npt.NDArray[np.int64],
    known: Frames,
    count: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Find the intent of each frame, shape (M,).

    Args:
        seen: Function that returns what is seen in frames as vectors, (N, F).
        episodes: Episode of each frame, shape (M,); those of an episode are consecutive.
        known: Frames whose episodes the functions are fitted to.
        count: Number of intents.
        seed: Seed of all randomness.
    """
    rng = np.random.default_rng(seed)
    _, first, which, lengths = np.unique(
        episodes, return_index=True, return_inverse=True, return_counts=True
    )
    frames, usual = np.arange(len(episodes)), int(np.median(lengths))
    rows = np.flatnonzero((frames - first[which]) % max(1, usual // _SAMPLES) == 0)
    last = (first + lengths - 1)[which[rows]]
    now = seen(rows)
    follows = torch.cat(
        [seen(np.minimum(rows + round(share * usual), last)) for share in _AHEAD], dim=1
    )
    follows = follows[:, follows.std(dim=0) > _STILL]
    follows = (follows - follows.mean(dim=0)) / follows.std(dim=0)
    now = torch.cat((now, now.new_ones(len(now), 1)), dim=1)
    names = rng.permutation(np.unique(episodes[known]))
    few = names[: max(1, _ROWS * len(lengths) // len(rows))]
    part, of_rows = np.isin(episodes[rows], few), episodes[rows]
    best = max(
        (
            _Mixture.fit(now[part], follows[part], _Table(of_rows[part]), count, rng)
            for _ in tqdm(range(_STARTS), "intents", dynamic_ncols=True)
        ),
        key=lambda mixture: mixture.score,
    )
    table = _Table(of_rows)
    shares, _ = smooth(table.pad(best.logs(now, follows)), best.change, table.valid)
    found: npt.NDArray[np.int64] = shares[table.places].argmax(dim=1).numpy()
    return found[np.searchsorted(rows, frames, side="right") - 1]


@dataclass(frozen=True)
class _Mixture:
    """K linear functions of what is seen, with normal errors."""

    weights: Tensor
    """(K, F, D)."""
    variances: Tensor
    """(K, D)."""
    change: float
    """Probability that the intent of a row is drawn anew."""
    score: float = -math.inf
    """Mean log likelihood of the rows, given their intents."""

    @classmethod
    def fit(
        cls, now: Tensor, follows: Tensor, table: _Table, count: int, rng: np.random.Generator
    ) -> _Mixture:
        """Fit from a random start to rows of what is seen, (N, F), and what follows, (N, D)."""
        shares, change = table.random(count, rng), _USUAL
        ridge = _RIDGE * torch.eye(now.shape[1]).to(now)
        for round_ in range(_ROUNDS):
            weights, variances = [], []
            for share in shares.T[:, :, None]:
                scaled = now * share
                function = torch.linalg.solve(scaled.T @ now + ridge, scaled.T @ follows)
                squares = (follows - now @ function).square() * share
                weights.append(function)
                variances.append(squares.sum(dim=0) / share.sum().clamp_min(1))
            mixture = cls(
                torch.stack(weights), torch.stack(variances).clamp_min(_NARROWEST**2), change
            )
            logs = mixture.logs(now, follows)
            warmth = max(1.0, _HOTTEST ** (1 - round_ / _COOLING))
            found, anew = smooth(table.pad(logs / warmth), change, table.valid)
            shares = found[table.places]
            if warmth == 1:
                change = float((anew.sum() / len(now)).clamp(_RAREST, _OFTENEST))
        return replace(mixture, score=float((shares * logs).sum(dim=1).mean()))

    def logs(self, now: Tensor, follows: Tensor) -> Tensor:
        """Log likelihood of what follows for each intent, (N, K), but for a constant."""
        found = []
        for function, variance in zip(self.weights, self.variances, strict=True):
            errors = (follows - now @ function).square() / variance
            found.append(-(errors.sum(dim=1) + variance.log().sum()) / 2)
        return torch.stack(found, dim=1)


class _Table:
    """Places of N rows in a table of E demonstrations of at most T rows."""

    def __init__(self, episodes: npt.NDArray[np.int64]) -> None:
        _, first, which, counts = np.unique(
            episodes, return_index=True, return_inverse=True, return_counts=True
        )
        step = np.arange(len(episodes)) - first[which]
        self.places = torch.from_numpy(which), torch.from_numpy(step)
        self._counts = counts
        self.valid = self.pad(torch.ones(len(episodes), dtype=torch.bool))

    def pad(self, values: Tensor) -> Tensor:
        """Put values of the rows, (N, ...), into the table, (E, T, ...)."""
        table = values.new_zeros(len(self._counts), int(self._counts.max()), *values.shape[1:])
        table[self.places] = values
        return table

    def random(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draw shares of the intents, (N, K), the same for all rows of a demonstration."""
        drawn = rng.dirichlet(np.full(count, 0.5), len(self._counts))
        return torch.from_numpy(drawn)[self.places[0]]


def smooth(likelihoods: Tensor, change: float, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each intent at each row, given the whole demonstration.

    The intent stays with probability 1 - `change`; otherwise it is drawn anew, each alike.

    Args:
        likelihoods: Log likelihood of each row for each intent, (E, T, K), of E demonstrations of
            at most T rows.
        change: Probability that it is drawn anew.
        valid: Rows that there are, (E, T).

    Returns:
        Probabilities (E, T, K), and the probability that it was drawn anew, (E, T).
    """
    fits = (likelihoods - likelihoods.amax(dim=2, keepdim=True)).exp()
    ahead, drawn = torch.zeros_like(fits), 1 / fits.shape[2]
    before = torch.full_like(fits[:, 0], drawn)
    for t in range(fits.shape[1]):
        known = (1 - change) * before + change * drawn
        before = ahead[:, t] = _share(known * fits[:, t])
    back, anew = torch.ones_like(fits), torch.zeros_like(fits[..., 0])
    for t in range(fits.shape[1] - 1, 0, -1):
        there = valid[:, t, None]
        coming = torch.where(there, fits[:, t] * back[:, t], 1.0)
        fresh = change * drawn * coming.sum(dim=1, keepdim=True)
        kept = (1 - change) * coming
        through = (ahead[:, t - 1] * (kept + fresh)).sum(dim=1)
        anew[:, t] = fresh[:, 0] / through.clamp_min(_TINY)
        back[:, t - 1] = torch.where(there, _share(kept + fresh), 1.0)
    return _share(ahead * back), anew * valid


def _share(values: Tensor) -> Tensor:
    return values / values.sum(dim=-1, keepdim=True).clamp_min(_TINY)
