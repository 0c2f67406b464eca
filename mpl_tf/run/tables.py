"""Tables of several runs: mean and standard deviation over seeds, differences paired by seed."""

import statistics


def mean_std(values, sign=""):
    """"mean ± standard deviation" of `values`, the latter with n - 1; for one value, the value.

    Args:
      sign: "+" to show the sign of a mean above 0 too.
    """
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.2f}{spread}"


def _cell(name):
    """A name as a cell of a table in Markdown shows it: a bar would end the cell."""
    return " ".join(name.split()).replace("|", "\\|")


def table(names, seeds, figures, reference=None):
    """Writes a table in Markdown, in per cent: mean and standard deviation over seeds for each row.

    Args:
      names: the names of the rows.
      seeds: the seeds, a column each.
      figures: {(name, seed): fraction}.
      reference: the name of a row, or None. If given, a column has the mean and the standard
        deviation of the differences from that row, paired by seed.
    """
    cell = {name: _cell(name) for name in names}
    lines = [f"| run | mean{' ± std' if len(seeds) > 1 else ''} [%], n = {len(seeds)} | "
             + (f"minus {cell[reference]} | " if reference else "") + " | ".join(
                 f"seed {seed}" for seed in seeds) + " |"]
    lines.append("|" + " --- |" * lines[0].count(" | ") + " --- |")
    for name in names:
        values = [100 * figures[name, seed] for seed in seeds]
        cells = [cell[name], mean_std(values)]
        if reference:
            differences = [100 * (figures[name, seed] - figures[reference, seed])
                           for seed in seeds]
            cells.append("–" if name == reference else mean_std(differences, "+"))
        lines.append("| " + " | ".join([*cells, *(f"{value:.2f}" for value in values)]) + " |")
    return "\n".join(lines)
