"""All three services over TLS to Postgres, Redis and Kafka, with a password and a certificate of our own for Kafka."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest
from pydantic import SecretStr

from milepost.embedded.ports import LOOPBACK, allocate
from milepost.errors import MilepostError
from milepost.live import connect
from milepost.log import ensure_topics
from milepost.runtime.settings import Settings
from milepost.store import Store, open_pool
from tests.conftest import MakeSettings
from tests.integration.secured.servers import ACCOUNT, SASL_PASSWORD, Certificates, SecuredKafka, TlsEnd
from tests.system import running

pytestmark = pytest.mark.stack


class Secured(NamedTuple):
    certificates: Certificates
    settings: Settings
    postgres: TlsEnd
    redis: TlsEnd


def _moved(url: SecretStr, port: int, **parts: str) -> SecretStr:
    split = urlsplit(url.get_secret_value())
    account = split.netloc.rpartition("@")[0]
    return SecretStr(urlunsplit(split._replace(netloc=f"{account}@{LOOPBACK}:{port}", **parts)))


def _port(url: SecretStr) -> int:
    port = urlsplit(url.get_secret_value()).port
    assert port is not None
    return port


@pytest.fixture(scope="module")
async def secured(fresh: MakeSettings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    home = tmp_path_factory.mktemp("secured")
    for folder in ("log", "run"):
        (home / folder).mkdir()
    certificates = Certificates.make(home)
    plain = await fresh()
    ports = allocate(["plain", "secured", "controller"], {}, home / "run" / "ports.json")
    kafka = SecuredKafka(home, ports, certificates)
    await kafka.start()
    try:
        async with (
            TlsEnd(certificates, _port(plain.database_url), postgres=True).listening() as postgres,
            TlsEnd(certificates, _port(plain.redis_url), postgres=False).listening() as redis,
        ):
            ca = certificates.ca
            settings = plain.model_copy(
                update={
                    "database_url": _moved(
                        plain.database_url, postgres.port, query=f"sslmode=verify-full&sslrootcert={ca}"
                    ),
                    "redis_url": _moved(plain.redis_url, redis.port, scheme="rediss", query=f"ssl_ca_certs={ca}"),
                    "kafka_bootstrap": f"{LOOPBACK}:{kafka.secured}",
                    "kafka_security_protocol": "SASL_SSL",
                    "kafka_sasl_username": ACCOUNT,
                    "kafka_sasl_password": SecretStr(SASL_PASSWORD),
                    "kafka_ssl_cafile": ca,
                    "kafka_ssl_certfile": certificates.client,
                }
            )
            yield Secured(certificates, settings, postgres, redis)
    finally:
        await kafka.stop()


async def test_a_task_runs_and_is_watched_with_everything_encrypted(secured: Secured) -> None:
    env = {
        "MILEPOST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "MILEPOST_KAFKA_SASL_USERNAME": ACCOUNT,
        "MILEPOST_KAFKA_SASL_PASSWORD": SASL_PASSWORD,
        "MILEPOST_KAFKA_SSL_CAFILE": str(secured.certificates.ca),
        "MILEPOST_KAFKA_SSL_CERTFILE": str(secured.certificates.client),
    }
    async with running(secured.settings, env=env) as system, system.client() as client:
        run = await client.submit("demo.count", {"to": 3, "delay": 0.05})
        events = [event async for event in run.watch()]
    assert events[-1].task.result == {"count": 3}
    # That Kafka was reached, `running` waited for: the api is ready only then.
    assert secured.postgres.encrypted > 0
    assert secured.redis.encrypted > 0
    assert secured.postgres.clear == 0


async def test_a_server_whose_certificate_nobody_signed_is_told_nothing(secured: Secured) -> None:
    stranger = str(secured.certificates.stranger)
    ours = str(secured.certificates.ca)

    def with_stranger(url: SecretStr) -> SecretStr:
        return SecretStr(url.get_secret_value().replace(ours, stranger))

    settings = secured.settings.model_copy(
        update={
            "database_url": with_stranger(secured.settings.database_url),
            "redis_url": with_stranger(secured.settings.redis_url),
            "kafka_ssl_cafile": secured.certificates.stranger,
        }
    )
    pool = await open_pool(settings, "test")
    redis = connect(settings)
    try:
        with pytest.raises(MilepostError):
            await Store(pool).ping()
        with pytest.raises(Exception, match="certificate"):
            await redis.ping()
        with pytest.raises(MilepostError):
            await ensure_topics(settings, ["default"])
    finally:
        pool.terminate()
        await redis.aclose()


@pytest.mark.parametrize(
    "missing",
    [
        {"kafka_sasl_password": SecretStr("hunter3-over-sasl")},
        {"kafka_security_protocol": "SSL"},
        {"kafka_ssl_certfile": None},
    ],
    ids=["password", "account", "certificate"],
)
async def test_kafka_lets_nobody_in_who_lacks_something(secured: Secured, missing: dict[str, object]) -> None:
    with pytest.raises(MilepostError) as refused:
        await ensure_topics(secured.settings.model_copy(update=missing), ["default"])
    assert "hunter" not in str(refused.value)


async def test_certificates_that_cannot_be_used_are_named(secured: Secured, tmp_path: Path) -> None:
    for name, file in (("kafka_ssl_cafile", tmp_path / "none.pem"), ("kafka_ssl_certfile", secured.certificates.ca)):
        with pytest.raises(MilepostError, match="MILEPOST_KAFKA_SSL_CAFILE"):
            await ensure_topics(secured.settings.model_copy(update={name: file}), ["default"])
