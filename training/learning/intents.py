"""Intents of demonstrations: for each frame one of K answers, which the demonstrator kept.

The action is a mixture of K experts, each a regression of the action, and the expert stays the
same from frame to frame but for rare changes. Experts and intents are found in turn, as in a
hidden Markov model (Baum-Welch; Rabiner 1989): the intents by the errors of the experts over whole
demonstrations, then the experts by the intents. Nothing but the demonstrations is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ebm_policy_ros.energy.action_space import ActionSpaceConfig
from ebm_policy_ros.energy.baselines import RegressionModel
from ebm_policy_ros.energy.heads import HeadConfig, VectorHead
from ebm_policy_ros.energy.models import ModelConfig, build_model
from ebm_policy_ros.training.data.batches import Batches, Frames, split_episodes
from ebm_policy_ros.training.data.dataset import Dataset
from ebm_policy_ros.training.data.mirror import Mirror
from ebm_policy_ros.training.learning.weights import fit

# Rounds of intents and experts, and steps of the experts in each.
_ROUNDS, _STEPS = 40, 150
_BATCH, _RATE = 256, 1e-3
# Encoded at a time.
_PART = 4096
# Least standard deviation of actions around their expert, in half-widths of the box.
_NARROWEST = 0.05
# Bounds of the share of frames at which the intent is drawn anew.
_RAREST, _OFTENEST = 1e-4, 0.1
# Share of frames with another intent than in the round before, below which the search ends.
_SETTLED = 1e-3
# Share of frames that are told no last intent, as the first ones after a start are.
_UNTOLD = 0.1


def intents_of(
    file: Path,
    config: ModelConfig,
    data: Dataset,
    shapes: Mapping[str, tuple[int, ...]],
    coordinates: ActionSpaceConfig,
    held_out: float,
    seed: int,
    device: torch.device,
    mirror: Mirror | None = None,
) -> npt.NDArray[np.float32]:
    """Return what batches tell of the intents: labelled, or found now or earlier in the run.

    Args:
        file: File of the intents; written if it does not exist.
        config: Settings of the model, with the number of intents.
        data: Demonstrations.
        shapes: Shape of each stream.
        coordinates: Coordinates of the action.
        held_out: Share of the episodes that the experts do not learn from.
        seed: Seed of all randomness.
        device: Device to compute on.
        mirror: Mirror whose images of the demonstrations have intents too.

    Returns:
        Last and present intent of each frame, (M, 2), or (2M, 2) with a mirror.

    Raises:
        ValueError: If the file does not hold the intents of these demonstrations, or the model
            has fewer intents than are labelled.
    """
    episodes, (known, _) = data.episodes, split_episodes(data.episodes, held_out, seed)
    if mirror:
        known = np.concatenate((known, known + len(episodes)))
        episodes = np.concatenate((episodes, episodes + episodes.max() + 1))
    if data.intents is not None:
        present = np.concatenate((data.intents,) * (2 if mirror else 1))
        if present.max() >= config.intents:
            raise ValueError(
                f"model.intents: got {config.intents}, but the labels go up to {present.max()}; "
                f"choose {present.max() + 1}"
            )
    elif file.exists():
        present = np.load(file, allow_pickle=False)
        if present.shape != episodes.shape or present.max() >= config.intents:
            raise ValueError(f"{file}: holds intents of other demonstrations; remove it")
    else:
        plain = replace(config, kind="explicit", intents=0, head=HeadConfig())
        torch.manual_seed(seed)
        horizon, size = data.actions.shape[1:]
        model = build_model(plain, shapes, horizon * size, coordinates).to(device)
        assert isinstance(model, RegressionModel)
        streams = tuple({**model.encoder.shapes, **dict.fromkeys(model.box.streams)})
        batches = Batches(data, streams, _BATCH, seed, device, mirror)
        fit(model, batches, known, _BATCH, None)
        present = find_intents(model, batches, known, episodes, config.intents, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, present)
    executed = max(1, data.actions.shape[1] // 2)
    return told_intents(present, episodes, executed, seed)


def told_intents(
    present: npt.NDArray[np.int64], episodes: npt.NDArray[np.int64], executed: int, seed: int
) -> npt.NDArray[np.float32]:
    """Return what a batch tells of its intents: the last one, -1 for none, and the present one.

    Args:
        present: Intent of each frame, shape (M,).
        episodes: Episode of each frame, shape (M,); those of an episode are consecutive.
        executed: Frames from one decision to the next.
        seed: Seed of the frames that are told no last intent.

    Returns:
        Shape (M, 2).
    """
    last = np.full(len(present), -1)
    same = episodes[executed:] == episodes[:-executed]
    last[executed:][same] = present[:-executed][same]
    last[np.random.default_rng(seed).random(len(last)) < _UNTOLD] = -1
    return np.stack((last, present), axis=1).astype(np.float32)


def find_intents(
    model: RegressionModel,
    batches: Batches,
    frames: Frames,
    episodes: npt.NDArray[np.int64],
    count: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Find the intent of each frame, shape (M,).

    Args:
        model: Regression with random weights and fitted normalisation; its encoder is trained.
        batches: Batches of the demonstrations.
        frames: Frames that the experts learn from.
        episodes: Episode of each frame, shape (M,); those of an episode are consecutive.
        count: Number of intents.
        seed: Seed of all randomness.
    """
    rng = np.random.default_rng(seed)
    experts = _Experts(model, count).to(model.box.low.device)
    optimizer = torch.optim.AdamW(experts.parameters(), _RATE)
    table = _Table(episodes)
    shares = table.random(count, rng)
    change, settled = _OFTENEST, 0
    for _ in tqdm(range(_ROUNDS), "intents", dynamic_ncols=True):
        for chosen in rng.choice(frames, (_STEPS, _BATCH)):
            errors, weights = experts(batches.observation(chosen), batches.actions(chosen))
            share = shares[chosen].to(errors)
            loss = (share * (errors / (2 * experts.variance) - weights)).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors, weights = _all(experts, batches, len(episodes))
        variance = float((shares * errors).sum()) / (len(shares) * model.box.size)
        experts.variance = max(_NARROWEST**2, variance)
        found, anew = smooth(
            table.pad(-errors / (2 * experts.variance)), table.pad(weights), change, table.valid
        )
        before, shares = shares.argmax(dim=1), found[table.places]
        moved = (shares.argmax(dim=1) != before).float().mean()
        settled = settled + 1 if moved < _SETTLED else 0
        if settled == 3:
            break
        change = float(np.clip(anew.sum() / len(shares), _RAREST, _OFTENEST))
    return shares.argmax(dim=1).numpy()


class _Experts(nn.Module):
    """Regressions of the action, one for each intent, with one encoder."""

    def __init__(self, model: RegressionModel, count: int) -> None:
        super().__init__()
        self.encoder, self.box = model.encoder, model.box
        self._shape = (count, model.box.size)
        self.head = VectorHead(model.encoder.size, count * (1 + model.box.size), HeadConfig())
        self.variance = 1.0
        """Mean square of the distance of a coordinate from its expert's."""

    def forward(self, seen: Mapping[str, Tensor], actions: Tensor) -> tuple[Tensor, Tensor]:
        """Squared errors of the experts, and log probability of each, (B, K) each.

        Args:
            seen: Observations of B frames.
            actions: Demonstrated actions in units, (B, H*D).
        """
        count, size = self._shape
        positive = self.box.normalise(actions, self.box.origin(seen))
        weights, means = self.head(self.encoder(seen)).split((count, count * size), dim=1)
        errors = (positive[:, None] - means.view(-1, count, size)).square().sum(dim=2)
        return errors, weights.log_softmax(dim=1)


def _all(experts: _Experts, batches: Batches, count: int) -> tuple[Tensor, Tensor]:
    """Results of the experts for all frames, (M, K) each, on the CPU."""
    parts = []
    with torch.no_grad():
        for frames in np.array_split(np.arange(count), math.ceil(count / _PART)):
            found = experts(batches.observation(frames), batches.actions(frames))
            parts.append([values.float().cpu() for values in found])
    errors, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    return errors, weights


class _Table:
    """Places of M frames in a table of N demonstrations of at most T frames."""

    def __init__(self, episodes: npt.NDArray[np.int64]) -> None:
        _, first, which, counts = np.unique(
            episodes, return_index=True, return_inverse=True, return_counts=True
        )
        step = np.arange(len(episodes)) - first[which]
        self.places = torch.from_numpy(which), torch.from_numpy(step)
        self._counts = counts
        self.valid = self.pad(torch.ones(len(episodes), dtype=torch.bool))

    def pad(self, values: Tensor) -> Tensor:
        """Put values of the frames, (M, ...), into the table, (N, T, ...)."""
        table = values.new_zeros(len(self._counts), int(self._counts.max()), *values.shape[1:])
        table[self.places] = values
        return table

    def random(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draw shares of the intents, (M, K), the same for all frames of a demonstration."""
        drawn = rng.dirichlet(np.full(count, 0.5), len(self._counts)).astype(np.float32)
        return torch.from_numpy(drawn)[self.places[0]]


def smooth(
    likelihoods: Tensor, weights: Tensor, change: float, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Probability of each intent at each frame, given the whole demonstration.

    The intent stays with probability 1 - `change`; otherwise it is drawn anew by the weights.

    Args:
        likelihoods: Log likelihood of each frame's action for each intent, (N, T, K), of N
            demonstrations of at most T frames.
        weights: Log probability of each intent where it is drawn, (N, T, K).
        change: Probability that it is drawn anew.
        valid: Frames that there are, (N, T).

    Returns:
        Probabilities (N, T, K), and the probability that it was drawn anew, (N, T).
    """
    fits = (likelihoods - likelihoods.amax(dim=2, keepdim=True)).exp()
    drawn, ahead = weights.exp(), torch.zeros_like(fits)
    before = drawn[:, 0]
    for t in range(fits.shape[1]):
        known = (1 - change) * before + change * drawn[:, t]
        before = ahead[:, t] = _share(known * fits[:, t])
    back, anew = torch.ones_like(fits), torch.zeros_like(fits[..., 0])
    for t in range(fits.shape[1] - 1, 0, -1):
        there = valid[:, t, None]
        coming = torch.where(there, fits[:, t] * back[:, t], 1.0)
        fresh = change * (drawn[:, t] * coming).sum(dim=1, keepdim=True)
        kept = (1 - change) * coming
        through = (ahead[:, t - 1] * (kept + fresh)).sum(dim=1)
        anew[:, t] = fresh[:, 0] / through.clamp_min(_TINY)
        back[:, t - 1] = torch.where(there, _share(kept + fresh), 1.0)
    return _share(ahead * back), anew * valid


_TINY = 1e-30


def _share(values: Tensor) -> Tensor:
    return values / values.sum(dim=-1, keepdim=True).clamp_min(_TINY)
