"""Signing a trust document where the root key is: the request goes there as a file, and comes back signed.

hub: request_frame  ->  FILE  ->  anywhere: signed_by(root)  ->  FILE  ->  hub: accept
"""

from collections.abc import Iterable

from hub.acting import Acting
from hub.errors import Conflict, NotFound
from hub.storage.hub_trust import trust_chain
from hub.trust.publishing import Published, completed, enact, waiting_request
from wire.documents import DocumentKind, countersigned, split_document, with_signatures
from wire.errors import Refused
from wire.keys import SigningKey
from wire.trust import TrustDocument, check_signatures, read_trust


def request_frame(context: Acting) -> bytes:
    """The document that waits, with the signatures that it has so far; NotFound where none does."""
    request = waiting_request(context)
    if request is None:
        raise NotFound("no trust document waits for the root key")
    return bytes(request.frame)


def signed_by(frame: bytes, roots: Iterable[SigningKey]) -> bytes:
    """The same document with these roots' signatures: needs no hub.

    Raises:
        Conflict: it is no trust document.
    """
    try:
        read_trust(frame)
        return countersigned(frame, *roots)
    except Refused as refusal:
        raise Conflict(f"this is no trust document that a root could sign: {refusal.detail}") from refusal


def accept(context: Acting, frame: bytes) -> Published:
    """Take back what was signed elsewhere, and put it in force if that suffices; inside `write_tx`.

    Raises:
        NotFound: none waits. Conflict: it is not the one that waits, or a signature is false.
    """
    waiting = split_document(request_frame(context), DocumentKind.TRUST)
    try:
        signed = split_document(frame, DocumentKind.TRUST)
        if signed.json != waiting.json:
            raise Conflict("this is not the trust document that waits: write the request anew, and sign that one")
        document = read_trust(frame)
        check_signatures(signed, trust_chain().document, document)
    except Refused as refusal:
        raise Conflict(f"{refusal.code}: {refusal.detail}", code=refusal.code) from refusal
    both = {kid: signature for kid, signature in (*waiting.signatures, *signed.signatures) if _is_root(kid, document)}
    request = waiting_request(context)
    assert request is not None
    return enact(context, completed(context, with_signatures(waiting, tuple(both.items()))), request.reasons)


def _is_root(kid: bytes, document: TrustDocument) -> bool:
    return any(key.kid == kid for key in (*trust_chain().document.roots, *document.roots))


def differences(before: TrustDocument, after: TrustDocument) -> list[str]:
    """What a document changes, in lines for whoever is about to sign it."""
    lines = [
        *(f"new {key.role} key {key.kid}" for key in after.keys if all(one.kid != key.kid for one in before.keys)),
        *(f"no {key.role} key {key.kid}" for key in before.keys if all(one.kid != key.kid for one in after.keys)),
        *(f"revoked {kid}" for kid in after.revoked if kid not in before.revoked),
        *(f"new {pin.role} pin {pin.spki}" for pin in after.tls_pins if pin not in before.tls_pins),
        *(f"no {pin.role} pin {pin.spki}" for pin in before.tls_pins if pin not in after.tls_pins),
    ]
    names = ("threshold", "epoch", "min_envelope", "runner_min_release")
    numbers = [(name, getattr(before, name), getattr(after, name)) for name in names]
    return [*lines, *(f"{name} {old} becomes {new}" for name, old, new in numbers if old != new)]
