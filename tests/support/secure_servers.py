"""A Kafka and a Redis that let nobody in without a password over TLS, with certificates made on the spot."""

import re
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from streams.local.jars import java_command, kafka_jars
from streams.local.kafka import Kafka
from streams.local.ports import LOOPBACK, free_port
from streams.local.process import Process
from streams.local.redis import Redis
from tests import programs

USER = "mediana"
OPERATING = Path(__file__).parents[2] / "docs" / "run" / "operating.md"


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, and what it signed: a server at 127.0.0.1 and a client."""

    folder: Path

    @property
    def authority(self) -> Path:
        """What clients trust."""
        return self.folder / "authority.pem"

    def certificate(self, name: str) -> Path:
        """The certificate of `server` or `client`."""
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Its key, not encrypted."""
        return self.folder / f"{name}.key"

    def both(self, name: str) -> Path:
        """Key and certificate in one file, as Kafka wants them."""
        return self.folder / f"{name}.both.pem"


def make_certificates(folder: Path) -> Certificates:
    """Make them with `openssl`."""
    program = programs.need("openssl")
    made = Certificates(folder)

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, capture_output=True, cwd=folder)

    def request(name: str) -> tuple[str, ...]:
        return ("req", "-newkey", "rsa:2048", "-nodes", "-keyout", str(made.key(name)), "-subj", f"/CN=test {name}")

    openssl(*request("authority"), "-x509", "-days", "2", "-out", str(made.authority))
    for name, use in (("server", "serverAuth"), ("client", "clientAuth")):
        openssl(*request(name), "-out", f"{name}.csr")
        extensions = folder / f"{name}.ext"
        # By its address only: who connects to `localhost` must refuse it.
        extensions.write_text(f"subjectAltName=IP:{LOOPBACK}\nextendedKeyUsage={use}\n")
        signer = ("-CA", str(made.authority), "-CAkey", str(made.key("authority")), "-CAcreateserial")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", *signer, "-days", "2"),
            *("-extfile", str(extensions), "-out", str(made.certificate(name))),
        )
        made.both(name).write_text(made.key(name).read_text() + made.certificate(name).read_text())
    return made


class SecureKafka(Kafka):
    """Two more listeners: `secure_address` (TLS, then PLAIN or SCRAM) and `mutual_address` (certificates both ways).

    The plain one is for the test alone, to see it start and to give SCRAM its user.
    """

    def __init__(self, data_folder: Path, certificates: Certificates, password: str) -> None:
        self.secure_address, self.mutual_address = f"{LOOPBACK}:{free_port()}", f"{LOOPBACK}:{free_port()}"
        self._password = password
        super().__init__(data_folder)
        plain = f"PLAINTEXT://{self.address}"
        secured = f"SECURE://{self.secure_address},MUTUAL://{self.mutual_address}"
        modules = "org.apache.kafka.common.security"
        self.properties = {
            "listeners": f"{plain},{secured},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"{plain},{secured}",
            "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL"),
            "inter.broker.listener.name": "PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificates.both("server")),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(certificates.authority),
            "listener.name.mutual.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.secure.plain.sasl.jaas.config": (
                f'{modules}.plain.PlainLoginModule required user_{USER}="{password}";'
            ),
            "listener.name.secure.scram-sha-512.sasl.jaas.config": (f"{modules}.scram.ScramLoginModule required;"),
        }

    def add_scram_user(self) -> None:
        """Tell the broker the user's password, as an operator does."""
        command = ["kafka.admin.ConfigCommand", "--bootstrap-server", self.address, "--alter"]
        told = subprocess.run(
            [
                *(java_command(), "-Xmx128m", "-XX:TieredStopAtLevel=1"),
                *("-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", str(kafka_jars() / "*")),
                *(
                    *command,
                    "--entity-type",
                    "users",
                    "--entity-name",
                    USER,
                    "--add-config",
                    f"SCRAM-SHA-512=[password={self._password}]",
                ),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert told.returncode == 0, told.stdout + told.stderr


class SecureRedis(Redis):
    """Speaks TLS only, and knows one user: the one that docs/run/operating.md tells operators to make."""

    def __init__(self, data_folder: Path, certificates: Certificates, password: str) -> None:
        super().__init__(data_folder)
        self._certificates = certificates
        self._password = password

    @property
    def url(self) -> str:
        """Where clients connect to; without the password."""
        return f"rediss://{self.address}/0"

    def prepare(self) -> Process:
        """The usual server, behind TLS and an ACL file."""
        usual = super().prepare()
        users = self.data_folder / "users.acl"
        users.write_text(f"user default off\n{documented_user(self._password)}\n")
        made = self._certificates
        return Process(
            self.name,
            [
                *(programs.need("a Redis with TLS"), *usual.command[1:]),
                *("--port", "0", "--tls-port", str(self.port), "--aclfile", str(users)),
                *("--tls-cert-file", str(made.certificate("server")), "--tls-key-file", str(made.key("server"))),
                *("--tls-ca-cert-file", str(made.authority), "--tls-auth-clients", "optional"),
            ],
            log_path=self.log_path,
        )

    def answers(self) -> bool:
        """Whether it asks who we are."""
        context = ssl.create_default_context(cafile=self._certificates.authority)
        try:
            with (
                socket.create_connection((LOOPBACK, self.port), timeout=1) as plain,
                context.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
            ):
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"-NOAUTH")
        except OSError:
            return False


def documented_user(password: str) -> str:
    """The line of the page for operators, with a password."""
    (line,) = re.findall(r"^\s*(user mediana .*)$", OPERATING.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).replace("PASSWORD", password)
