"""`kilter versions`: the versions of a model, and which of them serves."""

from pathlib import Path

import click

from kilter.service.detector import ArtifactError, artifact, store

MODEL = click.argument("model", type=click.Path(path_type=Path))


@click.group("versions")
def versions_command() -> None:
    """List, pin, roll back and prune the versions of a model.

    MODEL is a model's folder. Its highest version serves, unless another one is pinned.
    """


@versions_command.command("list")
@MODEL
def list_command(model: Path) -> None:
    """List the versions of MODEL; every file is compared with its checksum on the way."""
    serving, pinned = store.serving_version(model), store.pinned_version(model)
    for version in store.versions(model):
        state = ("pinned" if version == pinned else "serves") if version == serving else ""
        try:
            manifest = artifact.read_artifact(model / str(version)).manifest
            info = manifest.calibration
            rate = f"target false-positive rate {100 * info.target_fpr:.3g} %"
            text = f"{manifest.created}  threshold {info.threshold:.6g}, {rate}"
        except ArtifactError as error:
            text = f"damaged, cannot be loaded: {error}"
            state = state and ("pinned" if version == pinned else "highest")
        click.echo(f"{version:>6}  {state:<7} {text}")


@versions_command.command("pin")
@MODEL
@click.argument("version", type=click.IntRange(min=1), required=False)
def pin_command(model: Path, version: int | None) -> None:
    """Let VERSION of MODEL, or without one the version that serves, serve whatever is added later."""
    chosen = version or store.serving_version(model)
    store.pin(model, chosen)
    click.echo(f"{model}: version {chosen} is pinned")


@versions_command.command("unpin")
@MODEL
def unpin_command(model: Path) -> None:
    """Let the highest version of MODEL serve."""
    store.unpin(model)
    click.echo(f"{model}: version {store.serving_version(model)} serves, and any higher one will")


@versions_command.command("rollback")
@MODEL
def rollback_command(model: Path) -> None:
    """Pin the version of MODEL before the one that serves."""
    click.echo(f"{model}: version {store.rollback(model)} is pinned")


@versions_command.command("prune")
@MODEL
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the highest versions to keep.")
def prune_command(model: Path, keep: int) -> None:
    """Delete all versions of MODEL but the highest ones and the one that serves."""
    gone = store.prune(model, keep)
    deleted = f"deleted {'version' if len(gone) == 1 else 'versions'} {', '.join(map(str, gone))}"
    click.echo(f"{model}: {deleted if gone else 'nothing to delete'}")
