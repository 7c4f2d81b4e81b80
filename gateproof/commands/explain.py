"""``gateproof explain ID``: one check, requirement, scenario, fault, profile or load in full."""

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator

from gateproof.commands.listing import KINDS, Row, rows_of
from gateproof.errors import unknown_name
from gateproof.kills import load_elsewhere
from gateproof.profile import Profile, load_profile

__all__ = ["run"]

WIDTH = 100
LABEL = 12


def run(args: argparse.Namespace) -> int:
    """Print what is known under an id."""
    profile = load_profile(args.profile)
    wanted = args.id.partition(":")[0]  # a fault may be named with its parameter
    names: list[str] = []
    for what in ("checks", "requirements", "scenarios", "profiles", "groups", "loads", "faults"):
        # A check is explained although the profile does not claim it, and so is a rule.
        rows = KINDS[what](profile if what == "checks" else None)
        for row in rows:
            if row["id"] == wanted:
                sys.stdout.write("\n".join(_explain(what, row, profile)) + "\n")
                return 0
        names += [row["id"] for row in rows]
    raise unknown_name("id", args.id, set(names))


def _explain(what: str, row: Row, profile: Profile) -> Iterator[str]:
    yield f"{what.removesuffix('s')} {row['id']}"
    yield ""
    if what == "checks":
        yield from _check(row, profile)
    elif what == "requirements":
        yield from _rule(row)
        yield from _field("judged by", row["judged_by"])
    elif what == "scenarios":
        yield from _field("does", row["says"])
        yield from _field("needs", row["needs"])
        yield from _field("read by", row["checks"])
    elif what == "faults":
        yield from _field(row["kind"], row["says"])
        yield from _field("parameter", row["parameter"])
        for label, checks in row["kills"].items():
            yield from _field(f"under {label}", checks or "no finding")
        part = f"{row['id']}:…" if row["parameter"] else row["id"]
        yield from _field("to meet it", f"http://HOST:PORT/with/{part}/v1, or model NAME+{part}")
    elif what == "profiles":
        yield from _profile(row)
    elif what == "groups":
        yield from _field("does", f"it {row['says']}")
        yield from _field("in", row["profiles"])
        yield from _field("to ask", f"gateproof conform --with {row['id']}")
    else:
        yield from _field("does", row["says"])
        yield from _field("load", row["load"])
        yield from _field("to run it", f"gateproof load {row['id']} --target URL")
        yield from ("", "Its file, of which a copy of your own runs by its path:", "")
        yield from textwrap.indent(row["file"], "    ", lambda _: True).rstrip().splitlines()


def _check(row: Row, profile: Profile) -> Iterator[str]:
    yield from _field("says", row["says"])
    level = row["level"]
    yield from _field(
        f"in {profile.name}", f"not applicable: {row['excused']}" if row["excused"] else level
    )
    rule = next(item for item in rows_of("requirements") if item["id"] == row["requirement"])
    yield from _rule(rule)
    override = next((o for o in profile.overrides if o.requirement == rule["id"]), None)
    if override is not None:
        verb = "departs from it" if override.departs else f"holds it as {override.level}"
        yield from _field("override", f"{profile.name} {verb}: {override.reason}")
    yield from _field("needs", row["needs"])
    yield from _field("reads", row["scenarios"])
    killers = [
        f"{fault['id']} ({label})"
        for fault in rows_of("faults")
        for label, checks in fault["kills"].items()
        if row["id"] in checks
    ]
    yield from _field("killed by", killers or load_elsewhere().get(row["id"], "no fault yet"))


def _rule(row: Row) -> Iterator[str]:
    yield from _field("requires", row["says"])
    yield from _field("level", f"{row['level']} ({row['kind']})")
    yield from _field("source", f"{row['source']} (read {row['read']})")
    yield from _field("reading", row["reading"])
    yield from _field("impact", row["impact"])
    yield from _field("only for", row["profile"])
    yield from _field("excused", row["excused"])


def _profile(row: Row) -> Iterator[str]:
    yield from _field("is", row["says"])
    yield from _field("extends", row["extends"])
    yield from _field("document", f"specs/{row['document']}")
    yield from _field("claims", row["claims"])
    for own in row["overrides"]:
        held = "departs" if own["departs"] else f"held as {own['level']}"
        yield from _field(own["requirement"], f"{held}: {own['reason']}")


def _field(label: str, value: str | Iterable[str]) -> Iterator[str]:
    """Write one labelled value, wrapped; nothing for an empty one."""
    text = value if isinstance(value, str) else ", ".join(value)
    if not text:
        return
    lines = textwrap.wrap(text, WIDTH - LABEL, break_long_words=False, break_on_hyphens=False)
    if len(label) >= LABEL:
        yield label
        label = ""
    for line in lines:
        yield f"{label:<{LABEL}}{line}"
        label = ""
