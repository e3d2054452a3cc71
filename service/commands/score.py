"""`kilter score`: verdicts on the records of a file, or on pictures."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click
import msgspec

from kilter.service.formats.options import PlaceParameter, place_options, table_options

if TYPE_CHECKING:
    from kilter.service.formats.addresses import Place
    from kilter.service.formats.dask_cluster import DaskCluster
    from kilter.service.formats.inputs import Shard

Explained = Literal["anomalies", "all", "none"]


def reasons_of(stated: str) -> tuple[Explained, int]:
    """Which records get reasons, and how many at most. Raises click.BadParameter."""
    if stated in ("anomalies", "all", "none"):
        return cast(Explained, stated), 5
    if stated.isascii() and stated.isdigit() and 0 < int(stated) <= 1000:
        return "all", int(stated)
    raise click.BadParameter(f"it is anomalies, all, none, or a number up to 1000, not {stated!r}")


def shard_of(stated: str) -> "Shard":
    """A shard as it is stated. Raises click.BadParameter."""
    from kilter.service.formats.inputs import Shard

    place, _, of = stated.partition("/")
    if not (place.isdecimal() and of.isdecimal() and int(place) < int(of)):
        raise click.BadParameter(f"it is I/N, with I from 0 to N - 1, like 0/4, not {stated!r}")
    return Shard(int(place), int(of))


def merge(ctx: click.Context, folder: "Place") -> None:
    """Complete a folder of shards, and end the command."""
    from kilter.service.formats.merging import merge_shards

    records, anomalies, errors = merge_shards(folder)
    click.echo(f"{folder} is complete: {records:,} records, {anomalies:,} anomalies, {errors:,} in error", err=True)
    ctx.exit(1 if errors else 0)


def open_cluster(model: Path, device: str, scheduler: str | None, workers: int) -> "DaskCluster":
    """Workers of Dask for a version of a model. Raises click.UsageError if Dask is not installed."""
    try:
        from kilter.service.formats.dask_cluster import DaskCluster, read_model_files
    except ImportError:
        raise click.UsageError("--engine dask is not part of this install: pip install 'kilter[dask]'") from None
    return DaskCluster(read_model_files(model, device), scheduler, workers)


@click.command("score")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=PlaceParameter())
@place_options
@click.option("--resume", is_flag=True, help="Go on where a run was killed; what is finished is left as it is.")
@click.option(
    "--shard",
    metavar="I/N",
    callback=lambda ctx, parameter, value: None if value is None else shard_of(value),
    help="Do every N-th part of the work for a folder OUT, from number I on, which counts from 0: files, or ranges of "
    "large ones.",
)
@click.option(
    "--merge",
    is_eager=True,
    expose_value=False,
    type=PlaceParameter(),
    metavar="OUT",
    callback=lambda ctx, parameter, value: None if value is None else merge(ctx, value),
    help="Judge nothing, but complete a folder OUT whose shards are complete.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "ndjson", "parquet", "arrow"]),
    help="Of the files in a folder OUT.  [default: that of each FILE]",
)
@click.option(
    "--reasons",
    metavar="anomalies|all|none|N",
    default="anomalies",
    show_default=True,
    callback=lambda ctx, parameter, value: reasons_of(value),
    help="Which records get reasons, up to 5 each; a number N gives all records up to N. All takes longer.",
)
@click.option(
    "--fdr",
    type=float,
    metavar="RATE",
    help="Flag so that of the flagged records, RATE are normal on average; FILE is read twice.",
)
@click.option("--only-anomalies", is_flag=True, help="Write no other records; kilter_row is the place of each, from 0.")
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="Write the N records of the highest scores alone, flagged or not, in the order of FILE, which is read twice.",
)
@click.option(
    "--columns",
    metavar="COLUMN",
    multiple=True,
    help="Write of FILE this column alone, beside the verdict; may be given again. CSV is then written plainly.",
)
@click.option("--strict", is_flag=True, help="End with status 2 at the first record in error.")
@click.option(
    "--reject",
    type=PlaceParameter(),
    metavar="FILE",
    help="Write records in error, with their file, row, error and own text, to this file and not to OUT.",
)
@click.option(
    "--summary",
    "summary_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Write what is said at the end to a file, as JSON.",
)
@click.option("--tail", "tails", is_flag=True, help="Append kilter_tail_probability too.")
@click.option(
    "--nearest-normal",
    is_flag=True,
    help="Append kilter_nearest_normal too: what would make an anomaly normal. Takes some 30 ms for each.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="COLUMN",
    help="With --nearest-normal: a column that is not to be changed; may be given several times.",
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write a heat map of each picture into DIR, a PNG by the picture's own path.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    show_default="all cores",
    help="Threads that judge at once, of some 100 MB each; with --engine dask processes, of more.",
)
@click.option(
    "--engine",
    type=click.Choice(["threads", "dask"]),
    default="threads",
    show_default=True,
    help="Who judges: threads here, or workers of Dask, which make the files of a folder OUT between them.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="With --engine dask: that of a cluster, like tcp://10.0.0.5:8786.  [default: workers of this machine]",
)
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How standard error says how far it is, every ten seconds unless it is a terminal, and what became of it.",
)
@table_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def score_command(
    model: Path,
    files: tuple["Place", ...],
    out: "Place",
    reasons: tuple[Explained, int],
    jobs: int | None,
    engine: str,
    scheduler: str | None,
    device: str,
    summary_file: Path | None,
    log: str,
    nearest_normal: bool,
    keep: tuple[str, ...],
    **options: Any,
) -> None:
    """Judge every record of FILE by MODEL (a model's folder, or a version's), and write them with their verdicts.

    FILE may be several files, patterns like 'logs/*.csv', and folders, of which all tables are taken. OUT is a file,
    or a folder that gets a file for each FILE and, at the end, _SUCCESS, which says what it was made of.

    FILE and OUT may be addresses (s3://, gs://; FILE https:// too), with the extras of pip that their messages name.

    FILE is CSV in any dialect, Parquet, Arrow, npz, JSON or NDJSON; - is standard input. CSV records keep their own
    bytes, and what was found out about a file that is not plain CSV is noted. Appended are kilter_score,
    kilter_p_value, kilter_anomaly (true, false), kilter_reasons (JSON) and kilter_error. A record that cannot be scored
    has its error, and empty verdicts.

    For a model of pictures FILE is a folder, whose pictures and those of all folders below it are judged, one picture,
    or a stack of them (IDX, npy, npz). A row has a picture's path in the folder, and the same columns; its reasons are
    regions, in pixels of the picture.

    With --fdr an anomaly is a record that is declared one by the procedure of Benjamini and Hochberg over the whole
    FILE, whatever the threshold of MODEL. It promises that of the declared records at most RATE are normal on average,
    where the normal ones are like those that MODEL was calibrated on.

    With --tail the records beyond the 90 % quantile of the calibration scores have an estimate of how many normal
    records score higher. It tells those apart that share the lowest p-value, and is no p-value itself.

    With --nearest-normal an anomaly has the smallest change of the fewest fields after which MODEL scores it as normal,
    in JSON: its fields, each from what value to what other.

    Where most values of a column are missing, new, or of another unit than in training, a note says so, and how.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from kilter.service.commands.score_log import JsonLog, ScoreLog, WordsLog, summary_content
    from kilter.service.detector import load
    from kilter.service.detector.store import resolve
    from kilter.service.formats.scoring import score_inputs
    from kilter.service.formats.threads import map_in_threads, usable_cores
    from kilter.service.formats.whole_files import write_whole

    explained, limit = reasons
    if keep and not nearest_normal:
        raise click.UsageError("--keep is about nearest normals: give --nearest-normal too")
    options["keep"] = keep if nearest_normal else None
    if scheduler is not None and engine != "dask":
        raise click.UsageError("--scheduler is about a cluster of Dask: give --engine dask too")
    if scheduler is not None and jobs is not None:
        raise click.UsageError("--jobs is about this machine, and a cluster has its own workers: leave it out")
    model = resolve(model)
    detector, jobs = load(model, device), jobs or usable_cores()
    say: ScoreLog = JsonLog() if log == "json" else WordsLog()
    options |= {"reasons": explained, "limit": limit, "mapped": map_in_threads(jobs), "watch": say.watch}
    with open_cluster(model, device, scheduler, jobs) if engine == "dask" else nullcontext() as cluster:
        summary = score_inputs(detector, files, out, cluster=cluster, **options)
    expected = detector.calibration.expected_fpr * (summary.records - summary.errors)
    say.finish(summary, expected)
    if summary_file is not None:
        write_whole(summary_file, msgspec.json.encode(summary_content(summary, expected)))
    if summary.errors:
        click.get_current_context().exit(1)
