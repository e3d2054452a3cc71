"""`kilter versions`: which versions of a model there are, and which of them serves."""

from pathlib import Path

import click

from kilter.service.detector import ArtifactError, artifact, store

MODEL = click.argument("model", type=click.Path(path_type=Path))


@click.group()
def versions_command() -> None:
    """List, pin, roll back and prune the versions of a model.

    MODEL is a model's folder. Its highest version serves, unless another one is pinned.
    """


@versions_command.command("list")
@MODEL
def list_(model: Path) -> None:
    """List the versions of MODEL; every file is compared with its checksum on the way."""
    serving, pinned = store.serving_version(model), store.pinned_version(model)
    for version in store.versions(model):
        state = ("pinned" if version == pinned else "serves") if version == serving else ""
        click.echo(f"{version:>6}  {state:<7} {_described(model / str(version))}")


@versions_command.command()
@MODEL
@click.argument("version", type=click.IntRange(min=1), required=False)
def pin(model: Path, version: int | None) -> None:
    """Let VERSION of MODEL, or without one the version that serves, serve whatever is added later."""
    chosen = version or store.serving_version(model)
    store.pin(model, chosen)
    click.echo(f"{model}: version {chosen} is pinned")


@versions_command.command()
@MODEL
def unpin(model: Path) -> None:
    """Let the highest version of MODEL serve."""
    store.unpin(model)
    click.echo(f"{model}: version {store.serving_version(model)} serves, and any higher one will")


@versions_command.command()
@MODEL
def rollback(model: Path) -> None:
    """Pin the version of MODEL before the one that serves."""
    click.echo(f"{model}: version {store.rollback(model)} is pinned")


@versions_command.command()
@MODEL
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many of the highest versions to keep.")
def prune(model: Path, keep: int) -> None:
    """Delete all versions of MODEL but the highest ones and the one that serves."""
    gone = store.prune(model, keep)
    if gone:
        click.echo(f"{model}: deleted {'version' if len(gone) == 1 else 'versions'} {', '.join(map(str, gone))}")
    else:
        click.echo(f"{model}: nothing to delete")


def _described(folder: Path) -> str:
    try:
        manifest = artifact.read_artifact(folder).manifest
    except ArtifactError as error:
        return f"damaged: {error}"
    info = manifest.calibration
    return (
        f"{manifest.created}  threshold {info.threshold:.6g}, target false-positive rate {100 * info.target_fpr:.3g} %"
    )
