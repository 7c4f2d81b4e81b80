"""Imports point one way: this table says who may import whom, and every module is held to it.

The reason for a line is in ARCHITECTURE.md. Change the table in the commit that needs it.
"""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("specs", "suites", "loadtests", "reference_server", "reports")

# The core from the bottom up: a module imports only modules of layers below its own, or of its own.
LAYERS = (
    ("gateproof", "gateproof.errors"),
    (
        "gateproof.shape",
        "gateproof.budget",
        "gateproof.address",
        "gateproof.trace",
        "gateproof.lengths",
        "gateproof.work",
        "gateproof.values",
        "gateproof.sampling",
        "gateproof.calibration",
        "gateproof.clocks",
        "gateproof.workers",
    ),
    (
        "gateproof.sse",
        "gateproof.wire",
        "gateproof.requirement",
        "gateproof.plan",
        "gateproof.histogram",
        "gateproof.wording",
    ),
    ("gateproof.falling",),
    ("gateproof.capacity",),
    (
        "gateproof.transcript",
        "gateproof.profile",
        "gateproof.sample",
        "gateproof.openapi",
        "gateproof.limitlab",
    ),
    (
        "gateproof.redact",
        "gateproof.interval",
        "gateproof.latency",
        "gateproof.spread",
        "gateproof.timeline",
        "gateproof.drift",
        "gateproof.growth",
        "gateproof.goodput",
        "gateproof.evidence",
        "gateproof.trust",
        "gateproof.figures",
        "gateproof.measure",
        "gateproof.loadtext",
    ),
    ("gateproof.target", "gateproof.issued"),
    ("gateproof.config", "gateproof.scenario", "gateproof.manners", "gateproof.loadfile"),
    ("gateproof.check", "gateproof.settings"),
    ("gateproof.dialects", "gateproof.suite", "gateproof.run", "gateproof.likeness"),
    ("gateproof.spending",),
    ("gateproof.client",),
    (
        "gateproof.probe",
        "gateproof.record",
        "gateproof.bundled",
        "gateproof.loadrun",
        "gateproof.limitsrun",
    ),
    ("gateproof.kneerun",),
    ("gateproof.kills", "gateproof.conform", "gateproof.report", "gateproof.summary"),
    ("gateproof.plugin", "gateproof.prove", "gateproof.underload", "gateproof.live"),
    ("gateproof.commands",),
    ("gateproof.cli",),
    ("gateproof.__main__",),
)

# room: what of ours it may import beside itself
ROOM_IMPORTS: dict[str, tuple[str, ...]] = {
    "specs": (),
    "suites": ("gateproof",),
    "loadtests": ("gateproof",),
    "reference_server": (),
    "reports": ("gateproof",),
}

# library: the only places that import it
ONLY: dict[str, tuple[str, ...]] = {
    "locust": ("gateproof.loadtests",),
    "gevent": ("gateproof.loadtests",),
    "uvloop": ("gateproof.reference_server",),
    "httptools": ("gateproof.reference_server", "gateproof.loadtests"),
    "httpx": ("gateproof.client",),
    "httpcore": ("gateproof.client",),
    "h11": ("gateproof.wire",),
    "pytest": ("gateproof.plugin", "gateproof.commands.conform"),
    "jinja2": ("gateproof.reports",),
    "altair": ("gateproof.reports",),
    "vl_convert": ("gateproof.reports",),
    "schemathesis": ("gateproof.suites",),
    "hypothesis": ("gateproof.suites",),
}

# What opens sockets: beside the client nothing of the core does.
SOCKETS = (
    "socket",
    "socketserver",
    "http",
    "urllib.request",
    "requests",
    "aiohttp",
    "asyncio.streams",
)


def modules() -> Iterator[tuple[str, Path]]:
    """Give every module of core and rooms by its one name."""
    for folder, prefix in (("gateproof", ""), *((room, "gateproof.") for room in ROOMS)):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield prefix + ".".join(parts).removesuffix(".__init__"), path


MODULES = dict(modules())


@functools.cache
def imports(name: str) -> set[str]:
    """Return the modules that a module imports, anywhere in it, by their whole names."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{above}.{base}" if base else above
            whole = {f"{base}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else base for one in whole}
    return found


def room_of(name: str) -> str:
    """Return the room that a module is in; nothing for the core."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def layer_of(name: str) -> int | None:
    """Return the layer of a module of the core: its own line, or that of its package."""
    for number, layer in enumerate(LAYERS):
        if name in layer or (name.rpartition(".")[0] in layer and name.count(".") == 2):
            return number
    return None


CORE = [name for name in MODULES if not room_of(name)]
OF_ROOMS = [name for name in MODULES if room_of(name)]


def test_the_table_names_what_there_is() -> None:
    """Each module of the core has a layer, and each entry of the table is a module."""
    listed = [name for layer in LAYERS for name in layer]

    assert [name for name in CORE if layer_of(name) is None] == []
    assert [name for name in listed if name not in MODULES] == []
    assert len(listed) == len(set(listed))
    assert tuple(ROOM_IMPORTS) == ROOMS


@pytest.mark.parametrize("name", CORE)
def test_the_core_points_down(name: str) -> None:
    """A module of the core imports nothing of a layer above its own, and no room."""
    own = layer_of(name)
    ours = {target for target in imports(name) if target.partition(".")[0] == "gateproof"}
    assert own is not None
    upward = {target for target in ours if (layer_of(target) or 0) > own}
    rooms = {target for target in imports(name) if room_of(target) or target.split(".")[0] in ROOMS}

    assert (upward, rooms) == (set(), set())


@pytest.mark.parametrize("name", OF_ROOMS)
def test_a_room_keeps_to_its_own(name: str) -> None:
    """A room imports itself (by relative names), and of the rest what the table allows."""
    room = room_of(name)
    ours = {target for target in imports(name) if target.partition(".")[0] == "gateproof"}
    foreign = {target for target in ours if room_of(target) not in ("", room)}
    core = {target for target in ours if not room_of(target)}
    bare = {target for target in imports(name) if target.partition(".")[0] in ROOMS}

    assert (foreign, bare) == (set(), set())
    assert core == set() or "gateproof" in ROOM_IMPORTS[room]


@pytest.mark.parametrize("name", [name for name in OF_ROOMS if room_of(name) != "loadtests"])
def test_imports_inside_a_room_are_relative(name: str) -> None:
    """Inside a room imports are relative; a locustfile, which is run by path, cannot do so."""
    absolute = [
        node.module or ""
        for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level
    ]

    assert [module for module in absolute if room_of(module) == room_of(name)] == []


@pytest.mark.parametrize("library", ONLY)
def test_a_library_lives_in_one_place(library: str) -> None:
    """A library that is named in the table is imported there and nowhere else."""
    users = {
        name
        for name in MODULES
        if library in {target.partition(".")[0] for target in imports(name)}
    }
    allowed = ONLY[library]

    assert {name for name in users if not name.startswith(allowed)} == set()


@pytest.mark.parametrize("name", [name for name in CORE if name != "gateproof.client"])
def test_only_the_client_opens_sockets(name: str) -> None:
    """Beside the client no module of the core imports what opens a socket."""
    assert imports(name) & set(SOCKETS) == set()


def test_reading_transcripts_needs_no_event_loop() -> None:
    """What lies below the client does no I/O: it imports neither asyncio nor threads."""
    below = [name for name in CORE if (layer_of(name) or 0) < (layer_of("gateproof.client") or 0)]
    pure = [name for name in below if not name.startswith(("gateproof.run", "gateproof.measure"))]

    assert {
        name: sorted(imports(name) & {"asyncio", "threading", "subprocess", "selectors", "anyio"})
        for name in pure
    } == {name: [] for name in pure}


def test_no_module_hides_the_standard_library() -> None:
    """No top-level name of a room's folder hides a module of the standard library.

    A locustfile's folder comes first on the path when it is run by path.
    """
    names = {path.stem for path in (ROOT / "loadtests").glob("*.py")} - {"__init__"}

    assert names & sys.stdlib_module_names == set()
