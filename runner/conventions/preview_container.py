"""Show how a container would differ from the one that is there; nothing is fetched, made or stopped."""

from __future__ import annotations

import json
from typing import Dict

from runner.container_engine import ContainerEngine
from runner.container_image import image_name
from runner.container_specification import DIGEST_LABEL, SPECIFICATION_LABEL, container_name, specification_of
from runner.deployment import RunningDeployment
from runner.file_difference import tell_difference
from runner.system_access import SystemAccess


class PreviewContainer:
    name = "preview container"

    def install(self, deployment: RunningDeployment) -> None:
        engine = ContainerEngine(SystemAccess(deployment), deployment.properties["engine"])
        name = container_name(deployment)
        specification = specification_of(deployment, image_name(deployment))
        old = engine.container(name)
        before = None if old is None else _lines(json.loads(old.labels.get(SPECIFICATION_LABEL, "{}")))
        if tell_difference(deployment, f"container {name}", before, _lines(specification.shown())):
            deployment.say(f"the container {name} would be {'made' if old is None else 'replaced'}")
            return
        image_id = engine.image_id(specification.image) or ""
        same = old is not None and old.labels.get(DIGEST_LABEL) == specification.digest(image_id)
        why = "would not change" if same else "would be replaced: its image, or a value of its environment, is another"
        deployment.say(f"the container {name} {why}")

    def rollback(self, deployment: RunningDeployment) -> None:
        """Nothing was changed."""


def _lines(shown: Dict[str, object]) -> bytes:
    return (json.dumps(shown, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "replace")
