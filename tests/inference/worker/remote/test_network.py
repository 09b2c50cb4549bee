"""Where connections go: to the address that was checked, under the name that was meant."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inference.upstreams import BaseUrl
from inference.worker.engine_process import EngineLoadError
from inference.worker.remote.network import make_client
from llamagpu.lib.allow_list import AllowList
from tests.fake_upstream import FakeUpstream, status
from tests.inference.worker.remote.conftest import MakeEngine, answer, load_of

NAME = "upstream.test"


class Resolver:
    """Stands in for DNS: each look-up takes the next answer, the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.num_asked = 0
        real = socket.getaddrinfo

        def find(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host != NAME:
                return real(host, port, *args, **kwargs)
            self.num_asked += 1
            found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

        monkeypatch.setattr(socket, "getaddrinfo", find)


def named(upstream: FakeUpstream, scheme: str = "http") -> dict[str, Any]:
    url = BaseUrl.parse(f"{scheme}://{NAME}:{upstream.port}/v1")
    return {"base_url": url, "allow": AllowList.parse(["127.0.0.0/8"])}


def test_a_name_goes_along_to_the_address_that_was_checked(
    upstream: FakeUpstream, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(monkeypatch, ["127.0.0.1"])
    answer(make_engine(**named(upstream)))
    assert upstream.asked[0].headers["host"] == f"{NAME}:{upstream.port}"
    assert resolver.num_asked >= 1


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_name_that_leads_elsewhere_is_not_called(
    upstream: FakeUpstream,
    make_engine: MakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    Resolver(monkeypatch, [address])
    with pytest.raises(EngineLoadError, match="LLAMA_UPSTREAM_ALLOW"):
        make_engine(**named(upstream)).wait_ready(30)


def test_every_connection_checks_anew(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads to the right place first, and to a forbidden one when it counts."""
    resolver = Resolver(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    load = load_of(upstream, **named(upstream))
    url = f"{load.base_url.text}/models"
    upstream.listing = status(200, Connection="close")

    async def ask_twice() -> None:
        async with make_client(load) as client:
            assert (await client.get(url)).status_code == 200
            with pytest.raises(Exception) as refused:
                await client.get(url)
            assert type(refused.value).__name__ == "ForbiddenAddressError"

    asyncio.run(ask_twice())
    assert resolver.num_asked == 2
    assert len(upstream.probes) == 1


def test_only_the_permitted_of_several_addresses_are_called(
    upstream: FakeUpstream, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    Resolver(monkeypatch, ["169.254.169.254", "127.0.0.1"])
    assert answer(make_engine(**named(upstream)))[-1].text == "hello"


def test_proxies_of_the_environment_are_not_used(
    upstream: FakeUpstream, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert answer(make_engine())[-1].text == "hello"


def test_certificates_are_checked_by_the_name(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    Resolver(monkeypatch, ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = FakeUpstream(tls=context)
    try:
        assert answer(make_engine(**named(server, "https")))[-1].text == "hello"
        by_address = BaseUrl.parse(f"https://127.0.0.1:{server.port}/v1")
        with pytest.raises(EngineLoadError, match="does not answer"):
            make_engine(base_url=by_address).wait_ready(30)
    finally:
        server.close()


def make_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "upstream.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
