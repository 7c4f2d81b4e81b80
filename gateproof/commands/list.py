"""``gateproof list``: checks, requirements, scenarios, profiles, faults or loads, a line each."""

import argparse
import json
import shutil
import sys
import textwrap

from gateproof.commands.listing import Row, rows_of
from gateproof.profile import load_profile

__all__ = ["run"]

# What stands between the id and the sentence, for each kind.
COLUMNS = {"checks": ("level",), "requirements": ("level", "kind"), "faults": ("kind",)}


def run(args: argparse.Namespace) -> int:
    """Print what there is of one kind."""
    profile = load_profile(args.profile) if args.profile else None
    rows = rows_of(args.what, profile)
    if args.json:
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return 0
    shown = [row for row in rows if not (profile and args.what == "checks" and row["excused"])]
    sys.stdout.write("".join(line + "\n" for line in _table(shown, COLUMNS.get(args.what, ()))))
    told = f"{len(shown)} {args.what}"
    if len(shown) < len(rows):
        told += f"; {len(rows) - len(shown)} more do not concern profile {args.profile}"
    sys.stdout.write(f"\n{told}. One in full: gateproof explain ID\n")
    return 0


def _table(rows: list[Row], columns: tuple[str, ...]) -> list[str]:
    cells = [[row["id"], *(row[column] for column in columns)] for row in rows]
    widths = [max(map(len, column), default=0) for column in zip(*cells, strict=True)]
    left = sum(widths) + 2 * len(widths)
    room = max(40, shutil.get_terminal_size((120, 24)).columns - left)
    return [
        "".join(f"{cell:<{width + 2}}" for cell, width in zip(line, widths, strict=True))
        + textwrap.shorten(row["says"], room, placeholder=" …")
        for line, row in zip(cells, rows, strict=True)
    ]
