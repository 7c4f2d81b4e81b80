"""gateproof tells whether an LLM gateway keeps its promises, and how much it can carry.

The rooms (``specs``, ``suites``, ``loadtests``, ``reference_server``, ``reports``) stand beside
this package in a checkout and inside it once installed; either way they are imported as
``gateproof.<room>``, so that each of their objects exists once.
"""

from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent
if not (_here / "specs").is_dir() and (_here.parent / "specs" / "__init__.py").is_file():
    __path__.append(str(_here.parent))
