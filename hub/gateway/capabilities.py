"""What a spoke may fetch: the capability from its sealed job says so, and the gateway knows the engine's mark on it."""

from flask import request

from hub.gateway.parts import GatewayParts
from hub.packages.many import among, tuples_of
from hub.states import SpokeState
from hub.storage.models import PackageChunk, PackageVersion, Spoke
from wire.chunks_sealed import Capability, check_capability
from wire.errors import Code, Refused

HEADER = "Manyarm-Capability"
_TEXT_MAX = 16 * 1024


def presented(parts: GatewayParts, text: str | None = None) -> Capability:
    """The capability of this request.

    Raises:
        Refused: JOIN_PENDING where there is none, and the codes of `check_capability`; ENV_KEY for a revoked spoke.
    """
    given = request.headers.get(HEADER, "") if text is None else text
    if not given or len(given) > _TEXT_MAX:
        raise Refused(Code.JOIN_PENDING, "no capability: only a trusted spoke gets one, with each job")
    capability = check_capability(parts.capability_key, given, parts.clock_ms() // 1_000)
    trusted = Spoke.select().where(Spoke.id == capability.spoke, Spoke.state == SpokeState.TRUSTED)
    if not trusted.exists():
        raise Refused(Code.ENV_KEY, "the spoke is not trusted any more")
    return capability


def allowed_chunks(capability: Capability, ids: list[str]) -> set[str]:
    """Those of the chunk ids that the capability's manifests name."""
    query = (
        PackageChunk.select(PackageChunk.chunk)
        .join(PackageVersion, on=PackageChunk.package_version == PackageVersion.id)
        .where(among(PackageVersion.manifest_id, capability.manifests), among(PackageChunk.chunk, ids))
        .distinct()
    )
    return {chunk_id for (chunk_id,) in tuples_of(query)}
