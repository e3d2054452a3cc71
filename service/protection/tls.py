"""The certificate that the service shows, looked at before it listens."""

import ssl
from pathlib import Path

from kilter.service.detector import KilterError


def check_certificate(certificate: Path | None, key: Path | None) -> bool:
    """Whether there is TLS. Raises KilterError that names the file which a server cannot use, and the remedy."""
    if certificate is None and key is None:
        return False
    if certificate is None or key is None:
        lacking = "--tls-key (KILTER_TLS_KEY)" if key is None else "--tls-cert (KILTER_TLS_CERT)"
        raise KilterError(f"TLS needs a certificate and its key: give {lacking} as well")
    if "-----BEGIN CERTIFICATE-----" not in _text(certificate):
        raise KilterError(f"{certificate} holds no certificate in PEM: give the chain's file as --tls-cert")
    if "PRIVATE KEY-----" not in _text(key):
        raise KilterError(f"{key} holds no private key in PEM: give the certificate's key as --tls-key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: _refuse(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise KilterError(
                f"{key} is not the key of the certificate {certificate}: give the one it was made with"
            ) from None
        raise KilterError(f"{certificate} and {key} cannot be used ({error.reason}): give others") from None
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise KilterError(f"{path} cannot be read ({error.strerror}): give a file that this user may read") from None


def _refuse(key: Path) -> str:
    raise KilterError(
        f"{key} is encrypted, and nobody is asked for its password: give it decrypted, readable by this user alone"
    )
