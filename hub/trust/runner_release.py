"""Signs the newest runner's document anew: by the release key of the day, and long before the document ends."""

from dataclasses import replace

from hub.acting import Acting
from hub.errors import NotFound
from hub.events.record import record
from hub.packages.runner_package import VALID_S, latest_runner, release_of
from hub.storage.database import write_tx
from hub.storage.hub_keys import signing_key
from hub.storage.models import PackageVersion
from hub.trust.publishing import actor_of
from wire.documents import DocumentKind, split_document
from wire.roles import Role

RENEW_BEFORE_S = VALID_S // 2


def sign_anew_if_due(context: Acting) -> bool:
    """Whether it was. The bytes and the release number stay, so no spoke fetches anything again.

    Where the release key is elsewhere, whoever holds it publishes.
    """
    row = latest_runner()
    if row is None or row.release_document is None:
        return False
    try:
        key = signing_key(context.vault, Role.HUB_RELEASE)
    except NotFound:
        return False
    document, now_s = release_of(row), context.now_ms // 1000
    ((kid, _),) = split_document(bytes(row.release_document), DocumentKind.RUNNER).signatures
    if kid == key.kid and document.expires - now_s > RENEW_BEFORE_S:
        return False
    fresh = replace(document, created=now_s, expires=now_s + VALID_S).sign(key)
    with write_tx():
        PackageVersion.update(release_document=fresh).where(PackageVersion.id == row.id).execute()
        record("runner.sign", f"package-version:{row.id}", actor=actor_of(context), detail={"sha256": row.sha256})
    return True
