"""An Elasticsearch node on loopback: the server's core as Maven Central has it, without Kibana and without plugins."""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.errors import Failure
from deploy.services.daemon import NOBODY, QUICK, Daemon, check_ports, make_folder, remembered_ports
from deploy.services.fetch import ELASTIC_VERSIONS, JAVA_NEEDED, default_cache, elastic_zip, java

USER: Final = "elastic"


class ElasticNode:
    """A single node below ``folder``; ``extra`` adds to elasticsearch.yml. Started again, it keeps port and data.

    Disk watermarks are off unless ``extra`` sets them. ``start`` undoes ``kill`` and ``suspend``.
    ``secure``: TLS with a certificate of its own (``ca_file``) and basic authentication (``elastic`` and ``password``).
    ``brief``: it will live for minutes, so it is compiled in a hurry (``QUICK``).
    """

    def __init__(
        self, folder: Path, version: str = "8.19", secure: bool = False, extra: Mapping[str, str] | None = None,
        brief: bool = False,
    ) -> None:  # fmt: skip
        if version not in ELASTIC_VERSIONS:
            raise Failure(f"Elasticsearch {version} is not known here; choose one of {', '.join(ELASTIC_VERSIONS)}")
        self.folder = make_folder(folder)
        self.version = version
        self.secure = secure
        self._extra = dict(extra or {})
        self._brief = brief
        self._port, self._transport = remembered_ports(self.folder, 2)
        self.daemon = Daemon(self.folder, "elasticsearch")
        self.ca_file = self.folder / "ca.pem"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http{'s' if self.secure else ''}://127.0.0.1:{self._port}"

    @property
    def password(self) -> str:
        """Of the user ``elastic``; empty without security."""
        return (self.folder / "password").read_text() if self.secure else ""

    @property
    def log_path(self) -> Path:
        """Its log."""
        return self.daemon.log_path

    def start(self) -> None:
        """Start it unless it runs, resume it if it was suspended, wait until it is ready. Raises ``Failure``."""
        if self.daemon.alive():
            self.resume()
        else:
            check_ports([self._port, self._transport], self.folder)
            runtime = java(JAVA_NEEDED[self.version]).parent.parent
            home = self._unpacked()
            (home / "config" / "elasticsearch.yml").write_text(self._yml())
            temporary = make_folder(self.folder / "tmp")
            environment = {
                "ES_JAVA_HOME": str(runtime),
                "ES_JAVA_OPTS": f"-Xms512m -Xmx512m{' ' + QUICK if self._brief else ''}",
                "ES_TMPDIR": str(temporary),
                "CLI_JAVA_OPTS": f"-Djava.io.tmpdir={temporary} {QUICK}",
            }
            if self.secure:
                self._secure(home, environment)
            self.daemon.start([str(home / "bin" / "elasticsearch")], environment)
        self.daemon.wait_ready(self.ready)

    def stop(self) -> None:
        """Stop it, the data stays."""
        self.daemon.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.daemon.kill()

    def suspend(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        self.daemon.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.daemon.signal(signal.SIGCONT)

    def ready(self) -> bool:
        """Whether it answers as a healthy node."""
        connection: http.client.HTTPConnection
        if self.secure:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=5, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        headers = {}
        if self.secure:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        try:
            connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s", headers=headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _unpacked(self) -> Path:
        home = self.folder / f"elasticsearch-{ELASTIC_VERSIONS[self.version]}"
        if not home.exists():
            part = self.folder / "part"
            shutil.rmtree(part, ignore_errors=True)
            with zipfile.ZipFile(elastic_zip(default_cache(), self.version)) as archive:
                for entry in archive.infolist():
                    path = Path(archive.extract(entry, part))
                    if entry.external_attr >> 16 & 0o100:
                        path.chmod(0o755)
            (part / home.name).rename(home)
        return home

    def _yml(self) -> str:
        values = {
            "cluster.name": "weibowatch-local",
            "node.name": "node-1",
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": str(self._port),
            "transport.port": str(self._transport),
            "path.data": str(self.folder / "data"),
            "path.logs": str(self.folder / "logs"),
            "xpack.security.enabled": "true" if self.secure else "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        if self.secure:
            values |= {
                "xpack.security.http.ssl.enabled": "true",
                "xpack.security.http.ssl.key": "http.key",
                "xpack.security.http.ssl.certificate": "http.pem",
            }
        return "".join(f"{key}: {value}\n" for key, value in {**values, **self._extra}.items())

    def _secure(self, home: Path, environment: Mapping[str, str]) -> None:
        """A certificate for 127.0.0.1 and a password, made once."""
        config = home / "config"
        if (self.folder / "password").exists() and (config / "http.pem").exists():
            return
        self._run(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(config / "http.key"), "-out",
            str(config / "http.pem"),
        )  # fmt: skip
        shutil.copy(config / "http.pem", self.ca_file)
        password = secrets.token_urlsafe(16)
        keystore = str(home / "bin" / "elasticsearch-keystore")
        if not (config / "elasticsearch.keystore").exists():
            self._run(keystore, "create", environment=environment)
        self._run(keystore, "add", "-x", "-f", "bootstrap.password", environment=environment, given=password)
        (self.folder / "password").write_text(password)
        (self.folder / "password").chmod(0o600)
        if os.geteuid() == 0:
            os.chown(self.folder / "password", NOBODY, NOBODY)

    def _run(self, *command: str, environment: Mapping[str, str] | None = None, given: str = "") -> None:
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder), **(environment or {})}
        try:
            done = subprocess.run(command, env=path, input=given, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise Failure(f"{command[0]} is missing. Install it: sudo apt-get install -y openssl") from error
        if done.returncode:
            raise Failure(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-400:]}")
