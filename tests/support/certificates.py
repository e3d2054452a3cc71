"""A certificate that nobody signed but itself."""

import subprocess
from pathlib import Path


def certificate(folder: Path, name: str = "") -> tuple[Path, Path]:
    """Files of a certificate for localhost and 127.0.0.1, and of its key."""
    prefix = f"{name}-" if name else ""
    chain, key = folder / f"{prefix}cert.pem", folder / f"{prefix}key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*made, *names, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return chain, key
