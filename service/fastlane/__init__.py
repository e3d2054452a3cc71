"""The fast lane: requests that come as a whole are answered without a task and by one write.

It is a subclass of uvicorn's protocol that relies on private parts of it, and was tested with the releases below. With
any other, and without this folder, uvicorn serves plainly: the same answers, at half to two thirds of the rate.
"""

import asyncio
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

PARTS = ("uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.http.flow_control")
TESTED = {
    "f60c53fb525fe6b9c61292da0bc7e6087ea5795af469bae6c8d6378fe4b434e9": "0.34.0 to 0.38.0",
    "c389f6a1013717191fd555716a7800b5fc190ac8eda433fab514090fd327eb82": "0.39.0",
    "0707b1edfee2dfba902b02f39cdc97bfffdbc130cab8ec63ec35858834543c27": "0.40.0",
    "25cd63bae77e4e67d273695c62b46396f3027136b6ddae41d3e0058491909ff3": "0.41.0",
    "0746af5296e52256a3260143636c53aea639056d5e21fe0827d86fb7fcfa09ed": "0.42.0",
    "4b657d11672c7831426633794134d67714ceba5789526edc184bb6eb49b028a3": "0.45.0 to 0.48.0",
    "2d3f9ab21f983689e02b55aa9997a51a8fa9cc5d7506440d6802aab010bc3bed": "0.49.0",
    "c848541476e326a510b31cd1e2060b59de7c5d78b49b3771f83c297bd9f8c06c": "0.50.0 to 0.52.0",
    "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455": "0.53.0 to 0.54.0",
}
"""The SHA-256 of the sources of these parts, joined, and the releases of uvicorn that have them."""


def find_protocol() -> type[asyncio.Protocol] | None:
    """The protocol of the fast lane; None if it was not tested with the installed uvicorn."""
    if digest_of_parts() not in TESTED:
        return None
    from kilter.service.fastlane.protocol import FastProtocol

    return FastProtocol


def digest_of_parts() -> str:
    """The digest of the private parts of the installed uvicorn; empty if it lacks one of them."""
    sources = b""
    for name in PARTS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return ""
        sources += Path(spec.origin).read_bytes()
    return sha256(sources).hexdigest()
