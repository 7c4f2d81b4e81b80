"""Self-signed certificates for the loopback, made anew by openssl, which not every machine has."""

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["HAS_OPENSSL", "certificate", "needs_openssl"]

HAS_OPENSSL = shutil.which("openssl") is not None
needs_openssl = pytest.mark.skipif(not HAS_OPENSSL, reason="openssl makes the certificate")


def certificate(folder: Path, name: str = "localhost") -> Path:
    """Write a certificate for 127.0.0.1 and its key into one file and return its path."""
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", "-", "-out", "-"),
        ],
        capture_output=True,
        check=True,
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.stdout)
    return path
