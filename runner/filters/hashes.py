"""Filters that digest a text: `Sha256`, `Sha256 12` (bytes), `Sha256 unicode`, `Sha256 base64 12`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Callable

from runner.filters.call import Call, Filter, Refused

_ENCODINGS = {"utf8": "utf-8", "utf-8": "utf-8", "unicode": "utf-16-le", "base64": ""}


def _digest(algorithm: str) -> Callable[[Call], str]:
    def function(call: Call) -> str:
        sizes = [option for option in call.options if option.isascii() and option.isdigit() and len(option) < 9]
        encodings = [option.lower() for option in call.options if option not in sizes]
        if len(sizes) > 1 or len(encodings) > 1 or not set(encodings) <= set(_ENCODINGS) or "0" in sizes:
            raise Refused("it takes a number of bytes from 1 and an encoding: utf8, unicode or base64")
        content = _bytes(call.value, _ENCODINGS[encodings[0]] if encodings else "utf-8")
        # Not for security: a name's fingerprint, as its author asked for it.
        digest = hashlib.new(algorithm, content, usedforsecurity=False).digest()
        return digest[: int(sizes[0])].hex() if sizes else digest.hex()

    return function


def _bytes(text: str, encoding: str) -> bytes:
    if encoding:
        return text.encode(encoding, "surrogateescape" if encoding == "utf-8" else "surrogatepass")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("the text is no base64") from error


FILTERS = {name.capitalize(): Filter(_digest(name), 0, 2) for name in ("md5", "sha1", "sha256", "sha384", "sha512")}
