"""One of everything that one release writes and another reads: messages, a job, a spoke's journal, the API's surface.

`python -m tests.upgrade.examples` records it under the name of this release, once: what is recorded is never changed.
"""

import json
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

from hub.api.app import all_routes, release
from hub.api.openapi import document
from runner.contract.job import PREVIEW, Job, JobPackage, Named, ReleaseRef, StepRef
from spokes.agent.journal import Arrival, Journal, State
from wire import messages
from wire.envelope import MessageType
from wire.messages import (
    Ack,
    AckState,
    ArtifactRef,
    Body,
    BrokerAccess,
    Cancel,
    Command,
    Credential,
    CredentialKind,
    EndState,
    Enrol,
    Enrolled,
    Heartbeat,
    Hello,
    Intent,
    JobReport,
    JobState,
    Limits,
    Load,
    Log,
    Op,
    Output,
    PackageRef,
    PackageRole,
    Platform,
    Reject,
    Result,
    Rotate,
    Welcome,
)

RECORDED = Path(__file__).parent / "recorded"
AT = 1_800_000_000
ID, OTHER, DIGEST = "0a" * 16, "0b" * 16, "0c" * 32
PLATFORM = Platform("Linux", "x86_64", "6.1.0", "3.11.7", "web-1")

JOB = Job(
    task=ID,
    step=StepRef("Deploy web", "deploy-package"),
    attempt=2,
    target=Named(OTHER, "web-1"),
    environment=Named("0d" * 16, "Production"),
    project=Named("0e" * 16, "Storefront"),
    release=ReleaseRef("0f" * 16, "1.4.2"),
    properties={"install_to": "/srv/storefront", "structured": ["settings.json"]},
    variables={"Greeting": "Hello from #{Manyarm.Environment.Name}"},
    literals={"Manyarm.Step[Build].Output.Version": "#{not expanded}"},
    secret_names=("ApiToken",),
    expose_env=("Greeting",),
    package=JobPackage("storefront", "1.4.2", "tar.gz", ID, DIGEST),
    isolation="storefront",
    grace_s=20,
    endpoint={"region": "eu-1"},
    mode=PREVIEW,
)

BODIES: dict[MessageType, tuple[Body, ...]] = {
    MessageType.HELLO: (Hello(ID, AT, 3, 2, DIGEST, "manyarm 0.1.0", PLATFORM, (JobReport(OTHER, JobState.RUNNING),)),),
    MessageType.WELCOME: (Welcome(ID, OTHER, AT, 3, 1, "a checkpoint", 15, "00ff"),),
    MessageType.COMMAND: tuple(
        Command(
            op,
            ID,
            JOB.to_json(),
            (
                PackageRef(
                    PackageRole.RUNNER, ID, DIGEST, DIGEST, "manyarm-runner", "0.1.0", "pyz", 1_000_000, DIGEST, "00ff"
                ),
            ),
            {"ApiToken": "s3cret"},
            "",
            Limits(60, 3_600, 64_000_000, 1_000_000_000),
            "",
            0,
            "capability",
        )
        for op in Op
    ),
    MessageType.CANCEL: (Cancel(ID, "asked to"),),
    MessageType.ACK: tuple(Ack(state, "") for state in AckState),
    MessageType.RESULT: tuple(
        Result(
            state,
            None if state is EndState.UNKNOWN else 1,
            "it ended",
            (Output("Version", "1.4.2", False),),
            (ArtifactRef("report.txt", 12, DIGEST, OTHER),),
            ("sleep (4711)",),
            3,
            False,
            AT,
            AT + 5,
            17,
            DIGEST,
            "what is known",
        )
        for state in EndState
    ),
    MessageType.LOG: (Log(b"records"),),
    MessageType.HEARTBEAT: (Heartbeat(ID, 7, 9, Load(12, 300, 40_000, 1), (OTHER,)),),
    MessageType.REJECT: (Reject(ID, "ENV_SEQ", "number 3 is not above the floor 4"),),
    MessageType.ROTATE: (Rotate(DIGEST, "0d" * 64),),
    MessageType.ENROL: (
        Enrol("0a" * 8, ID, DIGEST, "", OTHER, PLATFORM, "web-1", "polling", "", ("web",), ("Production",)),
    ),
    MessageType.ENROLLED: (
        Enrolled(
            ID,
            DIGEST,
            3,
            BrokerAccess("amqps://hub.example:5671/manyarm", "spoke-0a", "password", "manyarm", DIGEST),
            "hub.example:8443",
            OTHER,
        ),
    ),
    MessageType.INTENT: (
        Intent("deployment.create", Credential(CredentialKind.SESSION, "0a" * 32), {"project": "Storefront"}, "k", {}),
    ),
}


def journal_of(path: Path) -> None:
    """A journal with a row in each state that a daemon may leave behind."""
    journal = Journal(path)
    for number, state in enumerate(State):
        cid = f"{number:02x}" * 16
        made = Arrival(
            cid, f"a{number}" * 16, ID, number + 1, "run_job", DIGEST, DIGEST, AT + 900, DIGEST, "capability", b"f", AT
        )
        journal.accept([made])
        if state is not State.ACCEPTED:
            journal._connection.execute("UPDATE command SET state = ? WHERE cid = ?", (str(state), cid))
    journal.close()


def surface() -> dict[str, dict[str, dict[str, list[str]]]]:
    """What a program meets of the API: by address and method its parameters, the fields of body and answer."""
    described = document(all_routes(), release())
    schemas = described["components"]["schemas"]
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for path, methods in described["paths"].items():
        for method, said in methods.items():
            if not isinstance(said, dict):
                continue
            asked = _schema(said.get("requestBody", {}), schemas)
            answers = [_schema(one, schemas) for status, one in said["responses"].items() if status.startswith("2")]
            found.setdefault(path, {})[method] = {
                "parameters": sorted(str(one["name"]) for one in said.get("parameters", [])),
                "fields": sorted(asked.get("properties", {})),
                "required": sorted(asked.get("required", [])),
                "answer": sorted(name for answer in answers for name in answer.get("properties", {})),
            }
    return found


def _schema(part: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return dict(schemas[found["$ref"].rpartition("/")[2]]) if "$ref" in found else found


def record(name: str) -> None:
    """Write what this release says; a release is recorded once."""
    folder = RECORDED / name
    folder.mkdir(parents=True)
    bodies = {kind.name: [messages.encode(body).hex() for body in found] for kind, found in BODIES.items()}
    (folder / "messages.json").write_text(json.dumps(bodies, indent=1) + "\n")
    (folder / "job.json").write_text(json.dumps(JOB.to_json(), indent=1, sort_keys=True) + "\n")
    (folder / "api.json").write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
    with tempfile.TemporaryDirectory() as place:
        journal_of(Path(place) / "journal.db")
        database = sqlite3.connect(Path(place) / "journal.db")
        (folder / "journal.sql").write_text("\n".join(database.iterdump()) + "\n")
        database.close()


if __name__ == "__main__":
    record(sys.argv[1])
