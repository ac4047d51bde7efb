"""The caller behind a browser session's cookie."""

from hub.access.caller import Caller, caller_of
from hub.access.sessions import find_session
from hub.storage.seals import RowSeals
from wire.messages import Credential, CredentialKind


def caller_of_session(token: str, now_ms: int, seals: RowSeals) -> Caller:
    """Who acts, with the rights of this moment; the session is now seen.

    Raises:
        NotSignedIn: There is no such session, it is over, or the person is disabled.
    """
    row = find_session(token, now_ms)
    return caller_of(Credential(CredentialKind.SESSION, row.id_sha256), now_ms, seals)
