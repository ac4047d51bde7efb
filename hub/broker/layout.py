"""What a private node finds in its folder: configuration, environment, and nothing of the system's own RabbitMQ."""

import json
import os
import secrets
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from hub.broker import process
from hub.broker.definitions import node_definitions
from wire import topology

# A node given a million descriptors makes a table for all of them; ten thousand spokes need a tenth of this.
_MAX_FILES = 65_536
_FOLDERS = ("", "conf", "home", "log", "mnesia", "gen")


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """The two users that a fresh node knows; there is no guest."""

    hub_password: str = field(repr=False)
    admin_password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeTls:
    """Files of the node's own certificate and key, readable by the node's user."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the node listens; all but `amqp` on loopback."""

    amqp: int
    management: int
    distribution: int
    epmd: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder `<home>/broker` and what its node is to be."""

    folder: Path
    address: str
    credentials: NodeCredentials
    tls: NodeTls | None
    disk_free_limit: str

    def make_folders(self) -> None:
        for name in _FOLDERS:
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        cookie = self.folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, secrets.token_hex(32), 0o400)

    def write(self, ports: Ports) -> None:
        conf = self.folder / "conf"
        write_private(conf / "rabbitmq.conf", self.configuration(ports))
        # Sourced by the start script in the process that becomes the node.
        write_private(conf / "rabbitmq-env.conf", f"ulimit -n {process.file_limit(_MAX_FILES)} 2>/dev/null || :\n")
        write_private(conf / "advanced.config", "[].\n")
        write_private(conf / "enabled_plugins", "[rabbitmq_management].\n")
        document = node_definitions(
            self.credentials.hub_password, self.credentials.admin_password, secrets.token_bytes(4)
        )
        write_private(conf / "definitions.json", json.dumps(document))

    def configuration(self, ports: Ports) -> str:
        template = resources.files("config").joinpath("rabbitmq", "node.conf").read_text()
        return Template(template).substitute(
            listener=self._listener(ports.amqp),
            management_port=ports.management,
            definitions=self.folder / "conf" / "definitions.json",
            max_message_bytes=topology.MAX_MESSAGE_BYTES,
            disk_free_limit=self.disk_free_limit,
        )

    def made_with(self, ports: Ports) -> list[str]:
        """All that a running node was made with: where it differs, the node cannot be gone on with."""
        certificate = self.tls.certificate.read_text() if self.tls is not None else ""
        passwords = [self.credentials.hub_password, self.credentials.admin_password]
        return [self.configuration(ports), certificate, *passwords]

    def _listener(self, port: int) -> str:
        where = f"{self.address}:{port}"
        if self.tls is None:
            return f"listeners.tcp.1 = {where}"
        return "\n".join(
            (
                "listeners.tcp = none",
                f"listeners.ssl.1 = {where}",
                f"ssl_options.certfile = {self.tls.certificate}",
                f"ssl_options.keyfile = {self.tls.key}",
                "ssl_options.verify = verify_none",
                "ssl_options.fail_if_no_peer_cert = false",
                "ssl_options.versions.1 = tlsv1.3",
            )
        )

    def environment(self, ports: Ports) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            # An address needs no resolver: a bare container may have no /etc/hosts.
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODENAME": "hub@127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "conf" / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "conf" / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "conf" / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "conf" / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "gen"),
            "RABBITMQ_SCHEMA_DIR": str(folder / "gen"),
            "RABBITMQ_PID_FILE": str(folder / "gen" / "pid"),
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "ERL_EPMD_PORT": str(ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_CRASH_DUMP": str(folder / "log" / "erl_crash.dump"),
            # The script then becomes the node, so that our child is the node.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
