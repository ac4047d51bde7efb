"""What every answer says about itself, errors and downloads included: nothing is cached, framed, guessed or lent."""

import secrets

from flask import Flask, Response, g, request

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Strict-Transport-Security": "max-age=31536000",
    "Cache-Control": "no-store",
}


def install(app: Flask) -> None:
    """On every response of the application; a view may set its own Cache-Control (static files do)."""
    app.before_request(_name_request)
    app.after_request(_say)


def _name_request() -> None:
    # Ours, not the client's: it goes into our log.
    g.request_id = secrets.token_hex(8)


def _say(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    if request.method == "OPTIONS":
        response.headers.pop("Access-Control-Allow-Origin", None)
    return response
