"""The options by which a threshold is chosen, shared by the commands that choose one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from kilter.training.config import Rule, check_rule

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


def _height_and_width(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`64` or `48x64` as a height and width."""
    if value is None:
        return None
    sides = value.lower().split("x")
    if not all(side.isascii() and side.isdecimal() for side in sides) or len(sides) > 2:
        raise click.BadParameter(f"a number of pixels like 64, or height and width like 48x64, not {value!r}")
    return int(sides[0]), int(sides[-1])


image_size_option = click.option(
    "--image-size",
    metavar="N|HxW",
    callback=_height_and_width,
    help="Height and width of pictures.  [default: by the pictures, at most 64]",
)
