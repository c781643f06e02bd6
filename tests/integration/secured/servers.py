"""Kafka that asks for TLS and a password, and TLS before Postgres and Redis, with certificates made just now."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from milepost.embedded.kafka import KafkaCluster, KafkaServer
from milepost.embedded.ports import LOOPBACK

ACCOUNT = "milepost-services"
SASL_PASSWORD = "hunter2-over-sasl"
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""What a Postgres client says before it encrypts (protocol 3.0, SSLRequest)."""


@dataclass
class Certificates:
    """Files in PEM: who signs, what servers show, what we show, and another signer nobody should believe."""

    ca: Path
    server: Path
    client: Path
    stranger: Path

    @classmethod
    def make(cls, folder: Path) -> "Certificates":
        """Make them."""
        authority, other = trustme.CA(), trustme.CA()
        made = cls(*(folder / f"{name}.pem" for name in ("ca", "server", "client", "stranger")))
        authority.cert_pem.write_to_path(str(made.ca))
        other.cert_pem.write_to_path(str(made.stranger))
        authority.issue_cert(LOOPBACK, "localhost").private_key_and_cert_chain_pem.write_to_path(str(made.server))
        authority.issue_cert("worker@milepost.example").private_key_and_cert_chain_pem.write_to_path(str(made.client))
        return made

    def context(self) -> ssl.SSLContext:
        """Return what a server needs to encrypt."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        return context


class SecuredKafka(KafkaServer):
    """A broker with a listener beside its own that takes TLS, SCRAM-SHA-512 and our certificate, and nothing less."""

    def __init__(self, home: Path, ports: dict[str, int], certificates: Certificates) -> None:
        cluster = KafkaCluster(home, [ports["controller"]], lambda _: None)
        super().__init__(home, ports["plain"], 0, cluster)
        self.secured = ports["secured"]
        self._certificates = certificates

    def _settings(self) -> dict[str, str]:
        settings = super()._settings()
        here = "listener.name.secured."
        for name, value in (
            ("listeners", f"SECURED://{LOOPBACK}:{self.secured}"),
            ("advertised.listeners", f"SECURED://{LOOPBACK}:{self.secured}"),
            ("listener.security.protocol.map", "SECURED:SASL_SSL"),
        ):
            settings[name] += f",{value}"
        return settings | {
            f"{here}sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"{here}scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            f"{here}ssl.keystore.type": "PEM",
            f"{here}ssl.keystore.location": str(self._keystore()),
            f"{here}ssl.truststore.type": "PEM",
            f"{here}ssl.truststore.location": str(self._certificates.ca),
            f"{here}ssl.client.auth": "required",
        }

    def _first_metadata(self) -> Sequence[str]:
        return ("--add-scram", f"SCRAM-SHA-512=[name={ACCOUNT},password={SASL_PASSWORD}]")

    def _keystore(self) -> Path:
        """Write the certificate as Java wants it: the key as PKCS #8."""
        from cryptography.hazmat.primitives import serialization as pem

        text = self._certificates.server.read_bytes()
        key = pem.load_pem_private_key(text, None)
        chain = text[text.index(b"-----BEGIN CERTIFICATE") :]
        file = self.directory / "keystore.pem"
        written = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
        file.write_bytes(written + chain)
        return file


class TlsEnd:
    """Ends TLS before a server that speaks none, as stunnel or a provider's proxy does; refuses what is in clear."""

    def __init__(self, certificates: Certificates, port: int, *, postgres: bool) -> None:
        self._context = certificates.context()
        self._target = port
        self._postgres = postgres
        self.encrypted = 0
        self.clear = 0
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["TlsEnd"]:
        """Take connections inside the block."""
        context = None if self._postgres else self._context
        async with await asyncio.start_server(self._take, LOOPBACK, 0, ssl=context) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            if self._postgres:
                if await reader.readexactly(8) != SSL_REQUEST:
                    self.clear += 1
                    writer.close()
                    return
                writer.write(b"S")
                await writer.start_tls(self._context)
            self.encrypted += 1
            inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, self._target)
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
