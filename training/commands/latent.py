"""`kilter latent`: a model's latent space as a page, or as a figure."""

from pathlib import Path

import click

from kilter.service.formats.options import table_options
from kilter.service.formats.source import Hints

DRAWS = 500  # synthetic records that are shown where no file is named


@click.command("latent")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write: .html is the page; .svg or .png is its maps alone.",
)
@click.option("--label", metavar="COLUMN", help="Column that says which rows are normal.  [default: as in training]")
@click.option("--normal", metavar="VALUE", help="The label of normal rows.  [default: as in training]")
@click.option(
    "--map",
    "maps",
    type=click.Choice(["pca", "tsne", "umap"]),
    multiple=True,
    help="A map, may be given again; umap needs kilter[umap].  [default: pca and tsne]",
)
@table_options
@click.option("--seed", type=int, default=0, show_default=True, help="Picks the records that are shown, and for maps.")
@click.option("--force", is_flag=True, help="Overwrite OUT if it exists.")
def latent_command(
    model: Path,
    file: Path | None,
    out: Path,
    label: str | None,
    normal: str | None,
    maps: tuple[str, ...],
    hints: Hints,
    seed: int,
    force: bool,
) -> None:
    """Show the latent space of MODEL with the records of FILE, up to 1,000 of them, or else with synthetic ones.

    The page has the records on maps, by their principal components, by t-SNE or by UMAP, coloured by score, label or
    any column, and flagged ones marked; what the model decodes under a pointer that moves over that of the principal
    components; traversals of the principal axes; and records beside their reconstructions. It is one file, and needs no
    network.
    """
    # Imported here: `kilter --help` only wants to know what the command is called.
    import numpy as np

    from kilter.service.detector import KilterError, load
    from kilter.service.detector.generation import generate
    from kilter.service.formats.whole_files import write_whole
    from kilter.service.formats.writers import check_output
    from kilter.training.data.source import TrainingSource
    from kilter.training.modality import modality_of_model
    from kilter.training.reporting.latent_page import MOST, latent_figure, latent_page, view_latent
    from kilter.training.reporting.maps import USUAL_MAPS, check_maps

    form = out.suffix.lower().removeprefix(".")
    if form not in ("html", "svg", "png"):
        raise KilterError(f"{out} does not say what to write: end it in .html, .svg or .png")
    check_output(out, file or "-", force=force)
    kinds = tuple(dict.fromkeys(maps)) or USUAL_MAPS
    check_maps(kinds)
    detector = load(model)
    detector.latent.check()
    labelled = None
    if file is None:
        rng = np.random.default_rng(seed)
        prior = "standard" if detector.generator is None else "learned"
        table = generate(detector.latent, detector.generator, DRAWS, rng, prior=prior)
    else:
        source = TrainingSource((file,), label, normal, hints=hints, max_rows=20 * MOST, seed=seed)
        rows = modality_of_model(detector.manifest).read_labelled(source, detector.manifest)
        for note in rows.notes:
            click.echo(note)
        table, labelled = rows.table, rows.anomalous
    try:
        view = view_latent(detector, table, labelled, seed)
    except ValueError as error:
        raise KilterError(f"{file}: {error}") from None
    content = latent_page(view, seed, kinds).encode() if form == "html" else latent_figure(view, form, seed, kinds)
    write_whole(out, content)
    click.echo(f"Wrote {out}: {len(view.codes):,} records, {int(view.verdicts.anomaly.sum()):,} of them flagged.")
