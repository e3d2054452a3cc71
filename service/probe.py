"""`python -m kilter.service.probe`: exit status 0 if the service in this container is ready, 1 if it is not.

The image's health check: an image without curl has only Python to ask with. Standard library alone, to be quick.
"""

import http.client
import os
import ssl
import sys

SECONDS = 2.0


def is_ready(host: str, port: int, seconds: float = SECONDS, *, tls: bool = False) -> bool:
    """Whether `GET /readyz` is answered with 200 in time; whom the certificate names does not matter on loopback."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    own = int(os.environ.get("KILTER_PORT") or "8000")
    sys.exit(0 if is_ready("127.0.0.1", own, tls=bool(os.environ.get("KILTER_TLS_CERT"))) else 1)
