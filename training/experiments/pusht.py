"""Push-T from 206 human demonstrations (Chi et al. 2023, Diffusion Policy).

The action is a chunk of the next positions, relative to the disc, as coefficients of its
principal components; a few hold nearly all of it. What is searched has so many dimensions, and all
its coordinates have one scale.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure

from ebm_policy_ros.command_line import run_command
from ebm_policy_ros.energy.heads import HeadConfig
from ebm_policy_ros.energy.models import Kind, Model, ModelConfig
from ebm_policy_ros.inference.derivative_free import DerivativeFree
from ebm_policy_ros.inference.methods import Optimiser
from ebm_policy_ros.training.dataset import Dataset
from ebm_policy_ros.training.exchange.demonstrations import with_windows
from ebm_policy_ros.training.exchange.sources import read_source
from ebm_policy_ros.training.experiments.common import dataset, decide, learn, write_results
from ebm_policy_ros.training.experiments.tee import STEPS, Tees, mirror, see
from ebm_policy_ros.training.learning import LearningConfig
from ebm_policy_ros.training.negatives import NegativesConfig

Numbers = npt.NDArray[Any]

HORIZON, EXECUTED, COMPONENTS = 8, 8, 4
# The paper's: 90 of the episodes that its validation leaves, drawn with this seed.
_EPISODES, _VALIDATION, _SPLIT_SEED = 90, 0.02, 42
# A chunk that leads less far than this, pixels, shows nobody pushing: the person waits.
_IDLE = 10.0
