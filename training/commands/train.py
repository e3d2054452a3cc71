"""`kilter train`, and the options by which it chooses a threshold as `kilter calibrate` does."""

import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from kilter.service.detector.findings import Epoch
from kilter.service.formats.options import PlaceParameter, table_options
from kilter.service.formats.source import Hints
from kilter.training.config import Rule, check_rule

if TYPE_CHECKING:
    from kilter.service.formats.addresses import Place
    from kilter.training.fitting.fit import FitProgress

OPTIONS: dict[str, tuple[str, str]] = {
    "alerts_per_day": ("N", "So many alerts per day, at the traffic of --records-per-day, if all are false."),
    "records_per_day": ("M", "Traffic, for --alerts-per-day."),
    "f_beta": ("B", "By labels: the best F-beta; 1 weighs precision and recall the same, 2 recall more."),
    "cost_false_alarm": ("X", "By labels: the least expected cost, a false alarm costing X ..."),
    "cost_miss": ("Y", "... and a missed anomaly Y."),
    "recall_at_precision": ("P", "By labels: the highest recall with at least this precision."),
    "anomaly_rate": ("P", "Share of anomalies to expect, for the ways by labels.  [default: that of the rows]"),
}


def threshold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a `Rule`, as its parameter `rule`: None where none of them is given.

    One way excludes the others and `--target-fpr`, which the command has itself.
    """

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        rule = Rule(**{name: kwargs.pop(name) for name in OPTIONS})
        check_rule(rule, kwargs["target_fpr"])
        return command(*args, **kwargs, rule=rule if rule.inputs else None)

    for name, (metavar, text) in reversed(OPTIONS.items()):
        wrapped = click.option(f"--{name.replace('_', '-')}", type=float, metavar=metavar, help=text)(wrapped)
    return wrapped


def group_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--group-by`; `default` says what holds without it."""
    text = f"Thresholds of their own for the values of a column, where they have enough rows.  [default: {default}]"
    return click.option("--group-by", metavar="COLUMN", help=text)


def split_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--split-by`; `default` says what holds without it."""
    text = (
        "Set the rows of a customer, machine or patient apart together, so that the rate holds for new ones.  "
        f"[default: {default}]"
    )
    return click.option("--split-by", metavar="COLUMN", help=text)


def rows_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--max-rows`."""
    text = "Of a table with more rows a sample of so many is used, drawn at random by --seed.  [default: 500000]"
    return click.option("--max-rows", type=click.IntRange(1000), metavar="N", help=text)(command)


def exclude_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--exclude`, or `--ignore`; `what` says what it leaves out."""
    text = f"Leave {what} out; may be given again."
    return click.option("--exclude", "--ignore", "exclude", multiple=True, metavar="COLUMN", help=text)


def kind_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--categorical`, `--numeric` and `--timestamp`: each a tuple of names, or None."""
    texts = {
        "categorical": "Take a column for categories; may be given again.",
        "numeric": "Take a column for numbers, or for durations.",
        "timestamp": "Take a column for times, or for times of day.",
    }
    for kind, text in reversed(texts.items()):
        command = click.option(
            f"--{kind}", multiple=True, metavar="COLUMN", callback=lambda _, __, names: names or None, help=text
        )(command)
    return command


def _height_and_width(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`64` or `48x64` as a height and width."""
    if value is None:
        return None
    sides = value.lower().split("x")
    if not all(side.isascii() and side.isdecimal() for side in sides) or len(sides) > 2:
        raise click.BadParameter(f"a number of pixels like 64, or height and width like 48x64, not {value!r}")
    return int(sides[0]), int(sides[-1])


@click.command()
@click.argument("sources", nargs=-1, required=True, type=PlaceParameter(), metavar="SOURCE...")
@click.option("--name", required=True, help="The model's name: a-z, 0-9 and '-'.")
@click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Folder of models."
)
@click.option(
    "--label",
    metavar="COLUMN",
    help="Column that says which rows are normal; the others only evaluate. Of images in an array: y, or a file.",
)
@click.option("--normal", metavar="VALUE", help="The label of normal rows; of pictures, the folder they lie in.")
@exclude_option("a column, or a subfolder,")
@table_options
@kind_options
@click.option(
    "--image-size",
    metavar="N|HxW",
    callback=_height_and_width,
    help="Height and width of pictures.  [default: by the pictures, at most 64]",
)
@click.option(
    "--backbone",
    type=click.Path(path_type=Path),
    metavar="FILE.onnx",
    help="A pretrained network that you have: pictures are judged by its local features. One input (any batch, 3 or 1, "
    "height, width) of RGB or grey from 0 to 1, standardised by ImageNet's mean and deviation, and a first output "
    "(batch, channels, rows, columns). It becomes part of the model; mind its licence.",
)
@click.option(
    "--target-fpr", type=float, help="False-positive rate  [default: 0.01, or the smallest that the data supports]"
)
@threshold_options
@group_option("one threshold for all")
@click.option(
    "--detector",
    help="vae, or of tables nearest, pca, iforest, gmm; or auto, which chooses by cross-validation.  [default: vae]",
)
@click.option(
    "--model",
    metavar="NAME",
    help="Of the detector vae: vae, beta-vae, binary-vae (of black and white pictures), cvae (with --condition-on), "
    "vq-vae (codes of words), vae-gan (of pictures that are to look real), ae (an autoencoder) or dae (a denoising "
    "one).  [default: vae]",
)
@click.option(
    "--condition-on",
    metavar="COLUMN",
    help="Judge all else given the value of a column, by the model cvae: what is normal for the night shift.",
)
@click.option(
    "--beta", type=float, help="Weight of the KL term of a variational model.  [default: 1; of the model beta-vae 4]"
)
@click.option("--score", help="Of the detector vae: neighbours, core, elbo or reconstruction.  [default: neighbours]")
@click.option("--split", type=click.Choice(["auto", "random", "time"]), help="How calibration rows are set apart.")
@split_option("each row by itself")
@rows_option
@click.option(
    "--generator", is_flag=True, default=None, help="Also fit what `kilter generate` makes synthetic records with."
)
@click.option(
    "--row-numbers/--no-row-numbers",
    default=None,
    help="Whether the model tells which training rows it remembers, to `kilter similar`.  [default: it does]",
)
@click.option("--seed", type=int, help="Same seed, data and machine: same model.  [default: 0]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; options go before them."
)
def train(
    sources: tuple["Place", ...],
    name: str,
    models: Path,
    label: str | None,
    normal: str | None,
    exclude: tuple[str, ...],
    hints: Hints,
    image_size: tuple[int, int] | None,
    backbone: Path | None,
    rule: Rule | None,
    group_by: str | None,
    config: Path | None,
    **settings: Any,
) -> None:
    """Learn what normal looks like from SOURCES, and write a calibrated model as its next version.

    SOURCES are tables with the same columns, in CSV (any dialect, encoding and compression), Parquet, Arrow, npz, JSON
    or NDJSON, or folders of these; or folders of pictures, nested or not, in PNG, JPEG, WebP, TIFF or BMP; or arrays of
    images in IDX, npy or npz.
    """
    # Imported here: torch takes seconds, and `kilter --help` only wants to know what the command is called.
    from kilter.training.config import read_config
    from kilter.training.data.source import TrainingSource
    from kilter.training.modality import modality_of_model
    from kilter.training.pipeline import checkpoint_of, train_model
    from kilter.training.reporting.run import alerts_in_words, evaluation_in_words, promise_in_words

    detector, folder, evaluation = train_model(
        TrainingSource(sources, label, normal, exclude, group_by, image_size=image_size, hints=hints),
        name,
        models,
        read_config(config, threshold=None if rule is None else rule.inputs, **settings),
        backbone=backbone,
        say=click.echo,
        progress=interruptible(progress_bar(), checkpoint_of(models, name)),
        reading=reading_bar(),
    )
    manifest, promise = detector.manifest, detector.manifest.calibration
    first = (
        f"Flags scores above {promise.threshold:.6g} {manifest.score.unit}: a false-positive rate of "
        f"{promise.expected_fpr:.4g}, calibrated on {promise.size:,} rows that the fit did not see."
    )
    lines = [first, *promise_in_words(promise)[2 if promise.chosen.by == "rate" else 1 :]]
    lines.append(alerts_in_words(promise.expected_fpr, evaluation.labelled, manifest.training.records_per_day))
    lines += [
        *evaluation_in_words(evaluation),
        *evaluation.notes,
        *(f"Attention: {warning}" for warning in manifest.training.warnings),
    ]
    click.echo(modality_of_model(manifest).worded("\n".join(lines)))
    click.echo(f"Wrote {folder}; its probes replay. See {folder / 'report.html'}.")


def reading_bar() -> Callable[[int, int], None]:
    """Report the decoding of pictures: a bar on a terminal, a plain line at every quarter elsewhere."""
    bar = tqdm(desc="Reading", unit="picture") if sys.stderr.isatty() else None
    last = 0

    def report(done: int, total: int) -> None:
        nonlocal last
        if bar is not None:
            bar.total = total
            bar.update(done - bar.n)
        elif 4 * done // total > last:
            last = 4 * done // total
            click.echo(f"read {done:,} of {total:,} pictures")

    return report


def progress_bar() -> "FitProgress":
    """Report the fit: a bar on a terminal, a plain line at every evaluation elsewhere."""
    bar = tqdm(desc="Fitting", unit="step") if sys.stderr.isatty() else None
    first = True

    def report(step: int, steps: int, epoch: Epoch | None) -> None:
        nonlocal first
        if first and step > 1:
            click.echo(f"The training that was interrupted is continued after step {step - 1} of {steps}.")
        first = False
        if bar is not None:
            bar.total = steps
            bar.update(step - bar.n)
            if epoch:
                bar.set_postfix_str(f"held-out ELBO {epoch.held_out_elbo:.3f}")
        elif epoch:
            click.echo(
                f"step {step}/{steps}: loss {epoch.loss:.3f}, reconstruction {epoch.reconstruction:.3f}, "
                f"KL {epoch.kl:.3f}, held-out ELBO {epoch.held_out_elbo:.3f}"
            )

    return report


def interruptible(progress: "FitProgress", checkpoint: Path | None = None) -> "FitProgress":
    """A `progress` that ends the training at the next step after Ctrl-C, if nothing did before.

    The exception says what the same command does next. The one that Ctrl-C raises may come while Python runs in a
    callback of native code, which drops it.
    """
    pressed, resumable, first = False, False, True

    def interrupt() -> KeyboardInterrupt:
        again = ["run the same command again, and it continues where this one was"]
        return KeyboardInterrupt(*again if resumable and checkpoint and checkpoint.exists() else [])

    def press(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise interrupt()

    def report(step: int, steps: int, epoch: Epoch | None) -> None:
        nonlocal resumable, first
        if pressed:
            raise interrupt()
        progress(step, steps, epoch)
        # A checkpoint is written after every epoch; one of another training is not taken up.
        resumable = resumable or epoch is not None or (first and step > 1)
        first = False

    signal.signal(signal.SIGINT, press)
    return report
