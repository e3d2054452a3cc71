"""Every model of `networks.MODELS`, for every kind of records that it is for: trained by the command, and then used."""

import json
from base64 import b64encode
from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
import torch
from click.testing import CliRunner

from kilter.service.commands.generate import generate_command
from kilter.service.commands.inspect import inspect
from kilter.service.commands.latent import decode_command, encode_command
from kilter.service.commands.score import score_command
from kilter.service.detector import KilterError, load
from kilter.service.detector.networks import MODELS, network_class
from kilter.training.commands.evaluate import evaluate
from kilter.training.commands.train import train
from kilter.training.evaluation.evidence import network_of
from tests.support.data import write_csv
from tests.support.pictures import encoded, scene
from tests.support.serving import client

ALL = [(model, modality) for model, kind in MODELS.items() for modality in kind.networks]
OPTIONS = {"cvae": ["--condition-on", "product"]}
"""Options of `kilter train` that a model needs."""
BUILT = "depth = 3\nskip = true\nbatch_norm = true\ndropout = 0.1\n"
"""Further settings of the network, which any model takes."""
SETTINGS = "target_fpr = 0.1\nbaselines = false\ngenerator = true\n[fit]\nsteps = 60\nhidden = 16\n"


def call(command: click.Command, *arguments: object) -> str:
    """What a command prints; its exit status is 0."""
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.output


def source_of(modality: str, folder: Path, rows: int, seed: int) -> Path:
    """Normal records in a file."""
    if modality == "table":
        return write_csv(folder / f"rows-{seed}.csv", np.random.default_rng(seed), rows)
    noise = np.random.default_rng(seed).normal(0, 8, (rows, 16, 16))
    pictures = np.stack([scene(16, 16, 1, seed=i)[:, :, 0] for i in range(rows)]) + noise
    np.save(folder / f"rows-{seed}.npy", np.clip(pictures, 0, 255).astype(np.uint8))
    return folder / f"rows-{seed}.npy"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("model", "modality", "build"),
    [*((*one, "") for one in ALL), ("vae", "table", BUILT), ("cvae", "table", BUILT), ("vae-gan", "image", BUILT)],
)
def test_a_model_is_trained_saved_loaded_served_scored_decoded_generated_from_and_inspected(
    model: str, modality: str, build: str, tmp_path: Path
) -> None:
    """The network is that of the registry, and every use of it gives the same as the detector that was loaded."""
    rows, new = (source_of(modality, tmp_path, *size) for size in ((160, 1), (12, 2)))
    (tmp_path / "brief.toml").write_text(SETTINGS + build)
    options = ["--name", "m", "--models", tmp_path, "--config", tmp_path / "brief.toml", "--model", model]
    call(train, rows, *options, *OPTIONS.get(model, []))
    folder = tmp_path / "m"

    detector = load(folder)
    kind = MODELS[model].networks[modality]
    assert detector.manifest.network.kind == kind
    assert kind in call(inspect, folder)
    assert detector.manifest.training.settings["fit"]["model"] == model

    records = np.load(new) if modality == "image" else [*map(json.loads, lines_of(new))]
    verdicts = detector.score(records, reasons=2)
    assert np.isfinite(verdicts.score).all()
    call(score_command, folder, new, "-o", tmp_path / "scored.csv")
    scored = (tmp_path / "scored.csv").read_text().splitlines()
    assert len(scored) == 13
    sent = records
    if modality == "image":
        sent = [{"image": b64encode(encoded(picture[:, :, None])).decode()} for picture in records]
    with client(detector) as http:
        answer = http.post("/v1/models/m/score", json={"records": sent}).json()
        assert [one["score"] for one in answer["results"]] == pytest.approx(verdicts.score.tolist(), abs=1e-4)
        codes = http.post("/v1/models/m/encode", json={"records": sent}).json()["codes"]
        assert np.allclose(codes, detector.encode(records), atol=1e-4)

    codes = detector.encode(records)
    assert codes.shape == (12, detector.manifest.network.code)
    assert len(detector.decode(codes)) == 12
    assert len(detector.decode(codes, seed=1)) == 12
    call(encode_command, folder, new, "-o", tmp_path / "codes.csv")
    call(
        decode_command,
        folder,
        tmp_path / "codes.csv",
        "-o",
        tmp_path / f"decoded{'.csv' if modality == 'table' else ''}",
    )

    made = detector.generate(5, seed=1)
    assert len(made) == 5
    assert np.isfinite(detector.score(made).score).all()
    call(generate_command, folder, "-n", 3, "-o", tmp_path / f"made{'.csv' * (modality == 'table')}")
    if network_class(kind).standard_prior:
        assert len(detector.generate(5, prior="standard", seed=0)) == 5
    else:
        with pytest.raises(KilterError, match=r"not held to N\(0, I\)"):
            detector.generate(5, prior="standard")

    network = network_of(folder)
    drawn = network.sample(50, torch.Generator().manual_seed(0))
    assert drawn.shape == (network.members, 50, network.latent)
    evaluation = CliRunner().invoke(evaluate, [str(folder), str(new), "--evidence", "8", "--json"])
    if network_class(kind).has_elbo:
        figures = json.loads(evaluation.stdout)
        assert figures["evidence"]["bound"]["value"] >= figures["evidence"]["elbo"]["value"]
    else:
        assert evaluation.exit_code == 1
        assert "no ELBO" in str(evaluation.exception)


def lines_of(path: Path) -> list[str]:
    """The rows of a CSV as JSON, without their identifier."""
    return [json.dumps(row) for row in pl.read_csv(path).drop("id").to_dicts()]
