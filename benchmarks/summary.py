"""Sums up measurements: means and ranks, one method against another over tables, speed, and false alarms."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.figures import common_tables, mean_error, mean_ranks, paired
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.measurement import OURS, REAL, Measurement

ORACLE = "best peer of each table, chosen by its labels"
RATIO_TO = "pyod-vae"

ByTable = dict[str, float]


def by_collection(lines: Iterable[Measurement]) -> dict[tuple[str, float], list[Measurement]]:
    """The measurements of the tables' own anomalies, by collection and level of contamination."""
    found: dict[tuple[str, float], list[Measurement]] = {}
    for line in lines:
        if line.kind == REAL:
            found.setdefault((line.collection, line.contamination), []).append(line)
    return found


def by_method(lines: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Measurements by method, ours first."""
    found: dict[str, list[Measurement]] = {OURS: []}
    for line in lines:
        found.setdefault(line.method, []).append(line)
    return {method: rows for method, rows in found.items() if rows}


def by_table(lines: Sequence[Measurement], field: str) -> ByTable:
    """The mean of a field over the tasks and seeds of each table; tables on which one failed are left out."""
    found: dict[str, list[float | None]] = {}
    for line in lines:
        found.setdefault(line.table, []).append(getattr(line, field))
    known = {name: [v for v in values if v is not None] for name, values in found.items()}
    return {name: float(np.mean(values)) for name, values in known.items() if len(values) == len(found[name])}


def report(lines: Sequence[Measurement]) -> str:
    """All of it, in Markdown."""
    seeds = sorted({line.seed for line in lines})
    parts = ["# Detection", described(), f"Seeds {', '.join(map(str, seeds))}, averaged within each table."]
    found = by_collection(lines)
    for (collection, level), rows in found.items():
        parts += _level(by_method(rows), collection, level)
    for collection in dict.fromkeys(collection for collection, _ in found):
        levels = sorted(level for name, level in found if name == collection)
        if levels[0] == 0 and len(levels) > 1:
            parts += _losses([line for level in levels for line in found[collection, level]], collection, levels)
    parts += _made(lines)
    failures = [line for line in lines if line.error]
    if failures:
        parts += ["## Failures", "\n".join(f"- {f.method} on {f.table}, seed {f.seed}: {f.error}" for f in failures)]
    return "\n\n".join(parts) + "\n"


def _level(methods: Mapping[str, list[Measurement]], collection: str, level: float) -> list[str]:
    auroc = {method: by_table(lines, "auroc") for method, lines in methods.items()}
    ap = {method: by_table(lines, "ap") for method, lines in methods.items()}
    common = common_tables(auroc)
    realised = mean_error([line.realised for lines in methods.values() for line in lines]).mean
    title = f"{level:.0%} of anomalies hidden in training (realised {realised:.1%})" if level else "clean training rows"
    parts = [f"## {collection}: {title}", f"Means and ranks over the {len(common)} tables that every method has."]
    parts.append(_means(methods, auroc, ap, common))
    if OURS in methods and len(methods) > 1:
        parts += [f"### {OURS} less each peer", _pairs(auroc, ap), _ratio(methods)]
    parts += ["### Each table: AUROC / average precision", _tables(auroc, ap)]
    if OURS in methods:
        parts += [f"### {OURS}: false alarms and speed, table by table", _alarms(methods[OURS]), _ours(methods[OURS])]
    return [part for part in parts if part]


def _means(
    methods: Mapping[str, list[Measurement]],
    auroc: Mapping[str, ByTable],
    ap: Mapping[str, ByTable],
    common: Sequence[str],
) -> str:
    ranks, ap_ranks = mean_ranks(auroc), mean_ranks(ap)
    rows = []
    for method, lines in methods.items():
        batch, record = (by_table(lines, field) for field in ("batch_us", "record_us"))
        cpu = by_table(lines, "fit_cpu_s")
        rows.append(
            [
                method,
                number(_mean(auroc[method], common)),
                number(_mean(ap[method], common)),
                number(ranks[method], 2),
                number(ap_ranks[method], 2),
                number(_mean(cpu, common), 2),
                number(_mean(batch, common), 1),
                number(_mean(record, common), 0),
            ]
        )
    peers = [method for method in methods if method != OURS]
    if peers:
        best = [np.mean([max(figures[m][t] for m in peers) for t in common]) for figures in (auroc, ap)]
        rows.append([ORACLE, *[number(float(value)) for value in best], *["–"] * 5])
    head = ("method", "AUROC", "AP", "rank, AUROC", "rank, AP", "CPU s to fit", "µs/row of 1,024", "µs for one")
    return table(head, rows)


def _pairs(auroc: Mapping[str, ByTable], ap: Mapping[str, ByTable]) -> str:
    rows = []
    for method in auroc:
        if method == OURS:
            continue
        a, p = paired(auroc[OURS], auroc[method]), paired(ap[OURS], ap[method])
        rows.append(
            [
                method,
                with_error(a.gain, a.error, 4, sign=True),
                f"{a.wins} / {a.losses}",
                with_error(p.gain, p.error, 4, sign=True),
                f"{p.wins} / {p.losses}",
                str(a.tables),
            ]
        )
    return table(("against", "AUROC ± s.e.", "won / lost", "AP ± s.e.", "won / lost", "tables"), rows)


def _ratio(methods: Mapping[str, list[Measurement]]) -> str:
    if RATIO_TO not in methods:
        return ""
    ours, other = (by_table(methods[m], "fit_cpu_s") for m in (OURS, RATIO_TO))
    common = [name for name in ours if name in other]
    ratio = sum(ours[name] for name in common) / sum(other[name] for name in common)
    return f"CPU seconds to fit over {len(common)} tables: {ratio:.2f} times those of {RATIO_TO}."


def _tables(auroc: Mapping[str, ByTable], ap: Mapping[str, ByTable]) -> str:
    names = list(dict.fromkeys(name for figures in auroc.values() for name in figures))
    rows = [[name, *[f"{number(auroc[m].get(name))} / {number(ap[m].get(name))}" for m in auroc]] for name in names]
    return table(("table", *auroc), rows)


def _alarms(lines: Sequence[Measurement]) -> str:
    promised, realised = (mean_error(list(by_table(lines, f).values())) for f in ("expected_fpr", "realised_fpr"))
    return (
        f"Of the normal test rows {number(realised.mean, 4)} ± {number(realised.error, 4)} are flagged, where "
        f"{number(promised.mean, 4)} was promised, means over tables."
    )


def _ours(lines: Sequence[Measurement]) -> str:
    fields = ("columns", "train_rows", "expected_fpr", "realised_fpr", "unread", "fit_cpu_s", "batch_us", "record_us")
    digits = (0, 0, 4, 4, 1, 2, 2, 1)
    found = [by_table(lines, field) for field in fields]
    rows = [
        [name, *[number(by.get(name), n) for by, n in zip(found, digits, strict=True)]]
        for name in dict.fromkeys(line.table for line in lines)
    ]
    head = ("table", "columns", "rows", "promised FPR", "realised FPR", "no verdict", "CPU s", "µs/row", "µs for one")
    return table(head, rows)


def _losses(lines: Sequence[Measurement], collection: str, levels: Sequence[float]) -> list[str]:
    """What each method loses against its own clean figures, on the tables that both have."""
    rows = []
    at = {level: by_method(line for line in lines if line.contamination == level) for level in levels}
    for method in at[0.0]:
        cells = [method]
        for level in levels[1:]:
            dirty, clean = (at[share].get(method, []) for share in (level, 0.0))
            a, p = (paired(by_table(dirty, field), by_table(clean, field)) for field in ("auroc", "ap"))
            cells.append(f"{number(a.gain, sign=True)} / {number(p.gain, sign=True)}")
        rows.append(cells)
    head = ("method", *[f"{level:.0%}" for level in levels[1:]])
    title = f"## {collection}: loss against clean training rows, AUROC / average precision"
    return [title, table(head, rows)]


def _made(lines: Sequence[Measurement]) -> list[str]:
    """How well made anomalies of each kind are ranked over the tables of all collections, where they are clean."""
    made = [line for line in lines if line.kind != REAL and line.contamination == 0]
    if not made:
        return []
    kinds = list(dict.fromkeys(line.kind for line in made))
    rows = []
    for method, found in by_method(made).items():
        figures = [by_table([line for line in found if line.kind == kind], "auroc") for kind in kinds]
        rows.append([method, *[number(mean_error(list(by.values())).mean) for by in figures]])
    return ["## Made anomalies: AUROC, means over all tables", table(("method", *kinds), rows)]


def _mean(figures: ByTable, tables: Sequence[str]) -> float:
    return mean_error([figures[name] for name in tables if name in figures]).mean
