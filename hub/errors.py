"""What can go wrong in the hub, as a caller would act on it.

HubError                     code, detail, field; status (HTTP) and exit_status (command line)
├── Invalid                  the request is malformed: `field` says where
├── NotSignedIn              who are you
├── NotAllowed               not you
│   └── StepUpNeeded         you, but prove it again
├── NotFound                 or not yours to see
├── Conflict                 it clashes with what is there
│   └── Stale                it was changed since you read it
├── TooLarge · TooMany       limits; TooMany says when to come back
├── Unavailable              a part we need is away
├── AlreadyRunning           another process does this here
├── MasterKeyError           the process must not start
│   ├── MasterKeyMissing     there is none where we looked
│   ├── MasterKeyWrong       there is one, of another hub or time
│   ├── MasterKeyExposed     others could read or change it
│   └── KeyringDamaged       the key fits, what it opens does not
├── FieldDamaged             one sealed value does not open
├── FileDamaged              a sealed file does not open
│   └── FileTruncated        it ends too early
├── SealBroken               a row was changed behind our back
└── AuditBroken              so was the audit log
"""


class HubError(Exception):
    """The root: nothing of ours is raised that is not one of these."""

    code = "HUB_ERROR"
    status = 500
    exit_status = 1

    def __init__(self, detail: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        if code is not None:
            self.code = code


class Invalid(HubError):
    code, status, exit_status = "INVALID", 400, 2


class NotSignedIn(HubError):
    code, status, exit_status = "NOT_SIGNED_IN", 401, 3


class NotAllowed(HubError):
    code, status, exit_status = "NOT_ALLOWED", 403, 3


class StepUpNeeded(NotAllowed):
    code = "STEP_UP_NEEDED"


class NotFound(HubError):
    code, status, exit_status = "NOT_FOUND", 404, 4


class Conflict(HubError):
    code, status, exit_status = "CONFLICT", 409, 2


class Stale(Conflict):
    code, status = "STALE", 412


class TooLarge(HubError):
    code, status = "TOO_LARGE", 413


class TooMany(HubError):
    code, status = "TOO_MANY", 429

    def __init__(self, detail: str, *, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unavailable(HubError):
    code, status, exit_status = "UNAVAILABLE", 503, 5


class AlreadyRunning(HubError):
    code, status = "ALREADY_RUNNING", 409


class MasterKeyError(HubError):
    code, exit_status = "MK_DAMAGED", 3


class MasterKeyMissing(MasterKeyError):
    code = "MK_MISSING"


class MasterKeyWrong(MasterKeyError):
    code = "MK_WRONG"


class MasterKeyExposed(MasterKeyError):
    code = "MK_PERMS"


class KeyringDamaged(MasterKeyError):
    code = "MK_DAMAGED"


class FieldDamaged(HubError):
    code = "FIELD_AUTH"


class FileDamaged(HubError):
    code = "FILE_AUTH"


class FileTruncated(FileDamaged):
    code = "FILE_TRUNC"


class SealBroken(HubError):
    code = "TRUST_MAC"


class AuditBroken(HubError):
    code = "AUDIT_CHAIN"
