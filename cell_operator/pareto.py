"""Catch against evenness at several prices of paint: table, CSV and picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from cell_core.files import write_text
from cell_operator.figures import save
from cell_operator.progress import shown_figure
from spray_planner.pareto import PricedPlan


def write_pareto(plans: Sequence[PricedPlan], out: Path) -> None:
    """Write pareto.csv and pareto.png."""
    rows = [p.row for p in plans]
    lines = [",".join(rows[0]), *(",".join(f"{value:.8g}" for value in row.values()) for row in rows)]
    write_text(out / "pareto.csv", "\n".join(lines) + "\n")
    figure, axes = plt.subplots(figsize=(6.0, 4.2))
    cv, catch = ([100.0 * row[name] for row in rows] for name in ("cv", "catch_fraction"))
    axes.plot(cv, catch, "o-", color="#2a6f9d", zorder=1)
    for plan, x, y in zip(plans, cv, catch, strict=True):
        axes.annotate(f"{plan.price:g}", (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
        if plan.chosen:
            axes.scatter([x], [y], s=120, facecolors="none", edgecolors="#c0392b", linewidths=2, label="chosen")
    axes.set_xlabel("film CV [%]")
    axes.set_ylabel("catch [% of the cone's film]")
    axes.set_title("price of overspray beside each point", fontsize=9)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    save(figure, out / "pareto.png")


def print_pareto(console: Console, plans: Sequence[PricedPlan]) -> None:
    """Print one line per price, the recipe's own in bold."""
    table = Table(title="price of overspray", title_justify="left", box=None, pad_edge=False, header_style="dim")
    names = [name for name in plans[0].row if name != "chosen"]
    for name in names:
        table.add_column(shown_figure(name, plans[0].row[name])[0], justify="right")
    for plan in plans:
        cells = [" ".join(shown_figure(name, plan.row[name])[1:]).strip() for name in names]
        table.add_row(*cells, style="bold" if plan.chosen else None)
    console.print(table)
