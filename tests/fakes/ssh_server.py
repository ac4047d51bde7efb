"""An SSH server that remembers every word about who we are, and need not count its first packets.

with FakeSshServer(strict=False) as server: … ; server.attempts == []
"""

import io
import socket
import threading
from typing import Any, Self

import paramiko


class FakeSshServer(paramiko.ServerInterface):
    """Takes any key and any password, and opens no session."""

    def __init__(self, *, strict: bool = True) -> None:
        self.attempts: list[str] = []
        self._strict = strict
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def host_key(self) -> str:
        return f"{self._key.get_name()} {self._key.get_base64()}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def get_allowed_auths(self, username: str) -> str:
        self.attempts.append(f"allowed {username}")
        return "publickey,password"

    def check_auth_none(self, username: str) -> Any:
        self.attempts.append(f"none {username}")
        return paramiko.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> Any:
        self.attempts.append(f"password {username}")
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> Any:
        self.attempts.append(f"publickey {username}")
        return paramiko.AUTH_SUCCESSFUL

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(sock, strict_kex=self._strict)
            transport.add_server_key(self._key)
            self._transports.append(transport)
            transport.start_server(event=threading.Event(), server=self)


def private_key() -> str:
    """A new one, as an account would hold it."""
    made = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(made)
    return made.getvalue()
