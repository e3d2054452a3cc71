"""Certificates are looked at before anybody is served with them."""

import subprocess
from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.protection.tls import check_certificate
from tests.support.certificates import certificate


def test_a_certificate_and_its_key_will_do(tmp_path: Path) -> None:
    """Without both there is no TLS."""
    assert check_certificate(*certificate(tmp_path)) is True
    assert check_certificate(None, None) is False


def test_what_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Half of a pair, a file that is not there or is something else, another's key, an encrypted key."""
    chain, key = certificate(tmp_path)
    other = certificate(tmp_path, "other")[1]
    encrypted, cut = tmp_path / "encrypted.pem", tmp_path / "cut.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:x", "-in", key, "-out", encrypted],
        check=True,
        capture_output=True,
    )
    cut.write_text(chain.read_text()[:200])
    for pair, message in [
        ((chain, None), r"give --tls-key \(KILTER_TLS_KEY\) as well"),
        ((None, key), r"give --tls-cert \(KILTER_TLS_CERT\) as well"),
        ((tmp_path / "absent", key), r"absent cannot be read \(No such file"),
        ((key, key), "key.pem holds no certificate in PEM: give the chain's file as --tls-cert"),
        ((chain, chain), "cert.pem holds no private key in PEM"),
        ((chain, other), "other-key.pem is not the key of the certificate .*cert.pem"),
        ((chain, encrypted), "encrypted.pem is encrypted"),
        ((cut, key), "cut.pem and .*key.pem cannot be used"),
    ]:
        with pytest.raises(KilterError, match=message):
            check_certificate(*pair)
