"""Map the rooms at the repository's root into the one import package, ``gateproof``.

Everything else about the build is in ``pyproject.toml``.
"""

from setuptools import find_namespace_packages, setup

ROOMS = ("specs", "suites", "loadtests", "reference_server", "reports")
CORE = find_namespace_packages(include=["gateproof", "gateproof.*"])
ROOM_PACKAGES = find_namespace_packages(
    include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")]
)

setup(
    packages=[*CORE, *(f"gateproof.{name}" for name in ROOM_PACKAGES)],
    package_dir={f"gateproof.{room}": room for room in ROOMS},
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
            "py.typed",
        ]
    },
    include_package_data=False,
)
