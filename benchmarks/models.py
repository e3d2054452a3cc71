"""Every model of `--model` on the same tables and pictures: what it detects, how it describes normal records, its cost.

Of tables, the ones named in the folder `--data`, split by the protocol of `benchmarks.detection`; of pictures, one digit
of MNIST against the others. A model is fitted once; around it stand the default score `neighbours`, which also looks at
remembered records, and the network's own: the negative ELBO, or the reconstruction where there is no ELBO. Scores are
those in torch, which are the exported ones.

    python -m benchmarks.models --data DIR --tables NAME ... --mnist DIR [--digits 3 8] [--steps 900]

Prints Markdown.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.clock import Matrix
from benchmarks.image_sets import digits, one_digit, pixels
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.sets import frame, load
from kilter.service.detector.arrays import Mask
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks import MODELS
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.service.formats.reading import to_table
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.diagnosis import fit_or_remedy
from kilter.training.fitting.fit import held_out_rows
from kilter.training.fitting.model import divide, score_around, score_rows
from kilter.training.modality import sharpness
