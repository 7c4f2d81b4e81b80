"""Map the rooms at the repository's root into the one import package, ``gateproof``.

Everything else about the build is in ``pyproject.toml``. The hot path of the load generator is
compiled where there is a C compiler; without one everything works all the same.
"""

import sys

from setuptools import Extension, find_namespace_packages, setup

ROOMS = ("specs", "suites", "loadtests", "reference_server", "reports")
CORE = find_namespace_packages(include=["gateproof", "gateproof.*"])
ROOM_PACKAGES = find_namespace_packages(
    include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")]
)

setup(
    packages=[*CORE, *(f"gateproof.{name}" for name in ROOM_PACKAGES)],
    package_dir={f"gateproof.{room}": room for room in ROOMS},
    ext_modules=[
        Extension("gateproof.loadtests.speedups", ["loadtests/speedups.pyx"], optional=True)
    ]
    if sys.platform == "linux"  # its system calls
    else [],
    package_data={
        "": [
            "*.toml",
            "*.ini",
            "*.yaml",
            "*.json",
            "*.html",
            "*.j2",
            "*.css",
            "*.js",
            "*.txt",
            "*.pyi",
            "*.pyx",
            "py.typed",
        ]
    },
    include_package_data=False,
)
