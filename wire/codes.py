"""Every reason for refusing something, of every room, in one closed table with a sentence and an advice for each.

Documentation, the portal and `manyarm doctor` read this list; tests and programs compare the codes, never the texts.
"""

from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """Why something was refused."""

    ENV_SHORT = "ENV_SHORT"
    ENV_TOOBIG = "ENV_TOOBIG"
    ENV_VERSION = "ENV_VERSION"
    ENV_TYPE = "ENV_TYPE"
    ENV_LENGTH = "ENV_LENGTH"
    ENV_KEY = "ENV_KEY"
    ENV_SIG = "ENV_SIG"
    ENV_HEADER = "ENV_HEADER"
    ENV_DUPKEY = "ENV_DUPKEY"
    ENV_FLOAT = "ENV_FLOAT"
    ENV_SCHEMA = "ENV_SCHEMA"
    ENV_SEAL = "ENV_SEAL"
    ENV_AUD = "ENV_AUD"
    ENV_ISS = "ENV_ISS"
    ENV_EPOCH = "ENV_EPOCH"
    ENV_SESSION = "ENV_SESSION"
    ENV_EXPIRED = "ENV_EXPIRED"
    ENV_FUTURE = "ENV_FUTURE"
    ENV_TTL = "ENV_TTL"
    ENV_SEQ = "ENV_SEQ"
    ENV_REPLAY = "ENV_REPLAY"
    ENV_OP = "ENV_OP"
    ENV_POLICY = "ENV_POLICY"
    REPLY_UNKNOWN = "REPLY_UNKNOWN"
    REPLY_BINDING = "REPLY_BINDING"
    REPLY_STATE = "REPLY_STATE"
    LOG_GAP = "LOG_GAP"
    BLOB_HASH = "BLOB_HASH"
    BLOB_TRUNC = "BLOB_TRUNC"
    BLOB_SIZE = "BLOB_SIZE"
    BLOB_SPACE = "BLOB_SPACE"
    TRUST_SIG = "TRUST_SIG"
    TRUST_THRESHOLD = "TRUST_THRESHOLD"
    TRUST_ROLLBACK = "TRUST_ROLLBACK"
    TRUST_GAP = "TRUST_GAP"
    TRUST_FORWARD = "TRUST_FORWARD"
    TRUST_EXPIRED = "TRUST_EXPIRED"
    TRUST_MAC = "TRUST_MAC"
    KEY_WEAK = "KEY_WEAK"
    JOIN_BAD = "JOIN_BAD"
    JOIN_EXPIRED = "JOIN_EXPIRED"
    JOIN_USED = "JOIN_USED"
    JOIN_SCOPE = "JOIN_SCOPE"
    JOIN_PENDING = "JOIN_PENDING"
    TLS_PIN = "TLS_PIN"
    TLS_NOCERT = "TLS_NOCERT"
    TLS_VERSION = "TLS_VERSION"
    RUN_SIG = "RUN_SIG"
    RUN_HASH = "RUN_HASH"
    RUN_ROLLBACK = "RUN_ROLLBACK"
    RUN_EXPIRED = "RUN_EXPIRED"
    RUN_PLATFORM = "RUN_PLATFORM"
    SSH_UNKNOWN_HOST = "SSH_UNKNOWN_HOST"
    SSH_HOSTKEY = "SSH_HOSTKEY"
    SSH_ALGO = "SSH_ALGO"
    SSH_ARG = "SSH_ARG"
    ARC_PATH = "ARC_PATH"
    ARC_TYPE = "ARC_TYPE"
    ARC_BOMB = "ARC_BOMB"
    ARC_DUP = "ARC_DUP"
    ARC_NAME = "ARC_NAME"
    ARC_OVERLAP = "ARC_OVERLAP"
    ARC_FORMAT = "ARC_FORMAT"
    MK_WRONG = "MK_WRONG"
    MK_MISSING = "MK_MISSING"
    MK_DAMAGED = "MK_DAMAGED"
    MK_PERMS = "MK_PERMS"
    FIELD_AUTH = "FIELD_AUTH"
    FILE_AUTH = "FILE_AUTH"
    FILE_TRUNC = "FILE_TRUNC"
    AUDIT_CHAIN = "AUDIT_CHAIN"
    AUDIT_ROLLBACK = "AUDIT_ROLLBACK"
    AUDIT_SIG = "AUDIT_SIG"


class Explanation(NamedTuple):
    """What a person reads beside a code."""

    sentence: str
    advice: str


_NEW_FRAME = (
    "Nothing was acted on. If the sender is honest it sends again; if this repeats, look at who writes to this queue."
)
_SAME_RELEASE = "Bring hub and spoke to releases that know each other; the older one is upgraded first."
_CLOCK = "Compare the clocks of hub and target; then run it again."
_CARRIER = "The bytes were changed on their way or on disk; only the damaged part is fetched again."
_PACKAGE = "Build the package again without this entry."
_RESTORE = "Restore the file or the database from a backup; nothing was overwritten."

EXPLANATIONS: dict[Code, Explanation] = {
    Code.ENV_SHORT: Explanation("A message is shorter than any message can be.", _NEW_FRAME),
    Code.ENV_TOOBIG: Explanation("A message is larger than allowed.", "Send large content as a package or artifact."),
    Code.ENV_VERSION: Explanation("A message is not of an envelope version that is accepted here.", _SAME_RELEASE),
    Code.ENV_TYPE: Explanation("A message is of a type that is not accepted here.", _SAME_RELEASE),
    Code.ENV_LENGTH: Explanation("A message's parts do not add up to its length.", _NEW_FRAME),
    Code.ENV_KEY: Explanation(
        "A message is signed by a key that is not trusted for this purpose now.",
        "If the sender is yours: approve it, or look whether its key was revoked or has expired.",
    ),
    Code.ENV_SIG: Explanation("A message's signature does not hold.", _NEW_FRAME),
    Code.ENV_HEADER: Explanation("A message's header is not the one form that it may have.", _SAME_RELEASE),
    Code.ENV_DUPKEY: Explanation("A message names a field twice.", _NEW_FRAME),
    Code.ENV_FLOAT: Explanation("A message holds a number that is not an integer.", "Write such values as text."),
    Code.ENV_SCHEMA: Explanation("A message has an unknown, missing or wrong field.", _SAME_RELEASE),
    Code.ENV_SEAL: Explanation("A message is not sealed to us, or not by its signer.", "The sender seals it again."),
    Code.ENV_AUD: Explanation("A message is addressed to somebody else.", _NEW_FRAME),
    Code.ENV_ISS: Explanation("A message names a sender that its key does not belong to.", _NEW_FRAME),
    Code.ENV_EPOCH: Explanation(
        "A message comes from a hub that was replaced by a restored one.", "Stop the older engine; one hub remains."
    ),
    Code.ENV_SESSION: Explanation("A message belongs to no session that is open.", "A new session is negotiated."),
    Code.ENV_EXPIRED: Explanation("A message came after its expiry.", "Nothing was started. Run it again."),
    Code.ENV_FUTURE: Explanation("A message was made in the future.", _CLOCK),
    Code.ENV_TTL: Explanation("A message's span of validity is not allowed.", _CLOCK),
    Code.ENV_SEQ: Explanation("A message's number is outside the session's window.", "A new session is negotiated."),
    Code.ENV_REPLAY: Explanation(
        "A known job id came with another job.", "Look into the audit log: this is an attack or a bug."
    ),
    Code.ENV_OP: Explanation("A command asks for something that does not exist or may not be asked.", _SAME_RELEASE),
    Code.ENV_POLICY: Explanation(
        "The machine's own policy forbids this command.", "Its owner decides; see its policy file."
    ),
    Code.REPLY_UNKNOWN: Explanation("A reply answers no command that is known.", _NEW_FRAME),
    Code.REPLY_BINDING: Explanation("A reply does not belong to the command that it names.", _NEW_FRAME),
    Code.REPLY_STATE: Explanation(
        "A reply came for a job that has already ended otherwise.", "Compare both in the audit log."
    ),
    Code.LOG_GAP: Explanation("Part of a log is missing.", "It is asked for again from the target's spool."),
    Code.BLOB_HASH: Explanation("A chunk does not have the digest that was promised.", _CARRIER),
    Code.BLOB_TRUNC: Explanation("A transfer ended before its end.", "It resumes with what is missing."),
    Code.BLOB_SIZE: Explanation("A transfer is not of the size that was promised.", _CARRIER),
    Code.BLOB_SPACE: Explanation("There is not enough disk space.", "Free space on that machine, then run it again."),
    Code.TRUST_SIG: Explanation(
        "A trust document is not signed by those who must sign it.", "The old one stays in force."
    ),
    Code.TRUST_THRESHOLD: Explanation("A trust document has too few distinct signers.", "The old one stays in force."),
    Code.TRUST_ROLLBACK: Explanation(
        "A trust document is older than, or contradicts, the known one.",
        "If the hub was restored: `manyarm backup restore`.",
    ),
    Code.TRUST_GAP: Explanation(
        "A trust document does not follow the known one.", "The versions between are fetched from the gateway."
    ),
    Code.TRUST_FORWARD: Explanation("A version number jumps too far ahead.", "Replace the key that signed it."),
    Code.TRUST_EXPIRED: Explanation(
        "The trust document has expired.", "Publish a new one with the root key; reports still flow."
    ),
    Code.TRUST_MAC: Explanation("A stored trust record was changed outside the hub.", _RESTORE),
    Code.KEY_WEAK: Explanation("A public key is not a sound key.", "Make a new key pair; never copy this one."),
    Code.JOIN_BAD: Explanation(
        "The join code is not accepted.", "Copy it again, or make a new one: `manyarm join-code create`."
    ),
    Code.JOIN_EXPIRED: Explanation("The join code has expired.", "Make a new one: `manyarm join-code create`."),
    Code.JOIN_USED: Explanation("The join code was used already.", "Make a new one: `manyarm join-code create`."),
    Code.JOIN_SCOPE: Explanation("The join code does not allow this role, name or environment.", "Make one that does."),
    Code.JOIN_PENDING: Explanation(
        "This spoke is not approved yet.", "Compare its thumbprint and approve it in the portal."
    ),
    Code.TLS_PIN: Explanation(
        "The peer's key is not the one that is pinned.", "Compare both thumbprints; nothing was sent."
    ),
    Code.TLS_NOCERT: Explanation(
        "The peer showed no certificate, or an unknown one.", "Enrol it, or refresh the trust document."
    ),
    Code.TLS_VERSION: Explanation("The peer does not speak TLS 1.3.", "Upgrade it; there is no older path."),
    Code.RUN_SIG: Explanation("The runner's manifest is not signed by the release key.", "The installed runner stays."),
    Code.RUN_HASH: Explanation("The runner's bytes are not those of its manifest.", _CARRIER),
    Code.RUN_ROLLBACK: Explanation(
        "The runner is older than the one installed.", "Publish a newer manifest that names the old bytes."
    ),
    Code.RUN_EXPIRED: Explanation(
        "The runner's manifest has expired.", "Publish a new one; the installed runner goes on working."
    ),
    Code.RUN_PLATFORM: Explanation("The runner does not run on this machine.", "Install Python 3.9 or later there."),
    Code.SSH_UNKNOWN_HOST: Explanation(
        "The SSH host's key was never confirmed.", "Compare and confirm its fingerprint."
    ),
    Code.SSH_HOSTKEY: Explanation(
        "The SSH host shows another key.", "Compare both fingerprints on its console; nothing was sent."
    ),
    Code.SSH_ALGO: Explanation("The SSH server offers no algorithm that is safe enough.", "Upgrade the SSH server."),
    Code.SSH_ARG: Explanation(
        "An SSH setting would be read as an option.", "Remove the leading '-' or the odd characters."
    ),
    Code.ARC_PATH: Explanation("An archive entry points outside its folder.", _PACKAGE),
    Code.ARC_TYPE: Explanation("An archive holds a link or a special file.", _PACKAGE),
    Code.ARC_BOMB: Explanation("An archive unpacks to more than is allowed.", _PACKAGE),
    Code.ARC_DUP: Explanation("An archive holds two entries of one name.", _PACKAGE),
    Code.ARC_NAME: Explanation("An archive entry has a name that is not allowed.", _PACKAGE),
    Code.ARC_OVERLAP: Explanation("Archive entries share bytes or lie out of order.", _PACKAGE),
    Code.ARC_FORMAT: Explanation("A file is not an archive of a known kind, or is damaged.", _PACKAGE),
    Code.MK_WRONG: Explanation(
        "The master key is not the one that this data needs.", "Give the right key; nothing was written."
    ),
    Code.MK_MISSING: Explanation("There is no master key.", "Set MANYARM_MASTER_KEY, or give the recovery string."),
    Code.MK_DAMAGED: Explanation("The keyring is damaged.", _RESTORE),
    Code.MK_PERMS: Explanation(
        "The master key's file may be read by others, or lies in the data folder.", "Mode 0600, owner, outside."
    ),
    Code.FIELD_AUTH: Explanation("A stored secret was changed or moved outside the hub.", _RESTORE),
    Code.FILE_AUTH: Explanation("A stored file was changed outside the hub.", _RESTORE),
    Code.FILE_TRUNC: Explanation("A stored file is cut.", _RESTORE),
    Code.AUDIT_CHAIN: Explanation(
        "The audit log was edited or cut.", "Compare with the spokes' checkpoints; keep the file."
    ),
    Code.AUDIT_ROLLBACK: Explanation(
        "The hub shows an audit log older than before.", "Ask who restored the hub, and when."
    ),
    Code.AUDIT_SIG: Explanation(
        "An audit checkpoint's signature does not hold.", "Keep the file; compare with a backup."
    ),
}
