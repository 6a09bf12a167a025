"""Tables: aligned columns for a terminal, Markdown for the documentation.

The first column is text, the others are numbers.
"""

from collections.abc import Sequence

Cell = str | float | None


def plain(head: Sequence[str], rows: Sequence[Sequence[Cell]], places: int = 1) -> str:
    """Aligned columns. Whole numbers are shown whole, others with so many places, `None` as a dash."""
    lines = [list(head), *([shown(cell, places) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    made = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    made.insert(1, "-" * max(map(len, made)))
    return "\n".join(made)


def markdown(head: Sequence[str], rows: Sequence[Sequence[Cell]], places: int = 1) -> str:
    """The same as a Markdown table."""
    rule = ["---", *(["---:"] * (len(head) - 1))]
    lines = [list(head), rule, *([shown(cell, places) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(cell: Cell, places: int = 1) -> str:
    """One cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or (float(cell).is_integer() and abs(cell) >= 1000):
        return f"{cell:,.0f}"
    return f"{cell:,.{places}f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
