"""https to an upstream: whom the pool trusts, and whom it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.domain.errors import UpstreamUnreachable
from tests.proxy.pools import fetch, on_a_loop, plain, pool_to, raw_server

EC_KEY = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


@dataclass(frozen=True)
class Authority:
    """A certificate authority of this test run's own."""

    folder: Path

    @property
    def certificate(self) -> str:
        return str(self.folder / "ca.pem")

    def server_context(self, names: str, days: int = 2) -> ssl.SSLContext:
        """What a server of these names shows."""
        key, request, signed = (str(self.folder / name) for name in ("server.key", "server.csr", "server.pem"))
        extensions = self.folder / "server.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", "-newkey", *EC_KEY, "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=server")
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", str(self.folder / "ca.key"),
            "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", signed,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(signed, key)
        return context


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH to make certificates with")
    folder = tmp_path_factory.mktemp("ca")
    _openssl(
        "req", "-x509", "-newkey", *EC_KEY, "-nodes", "-days", "2", "-subj", "/CN=Quotagate tests",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"),
    )  # fmt: skip
    return Authority(folder)


@contextlib.asynccontextmanager
async def https(context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a server that answers each call with what it chose by ALPN."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol() or "nothing"
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(plain(chosen.encode()))

    async with raw_server(answer, ssl=context) as port:
        yield port


@on_a_loop
async def test_an_upstream_of_the_trusted_authority_is_called(authority: Authority) -> None:
    context = authority.server_context("DNS:localhost,IP:127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])

    async with https(context) as port:
        for host in ("localhost", "127.0.0.1"):
            async with pool_to(f"https://{host}:{port}", ca_file=authority.certificate) as pool:
                # HTTP/2 is not asked for: it could not be read.
                assert [await fetch(pool, method=b"GET", body=b"") for _ in range(2)] == [b"http/1.1"] * 2
                assert len(pool._idle) == 1


@on_a_loop
async def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    async with (
        https(authority.server_context("DNS:elsewhere.example")) as port,
        pool_to(f"https://localhost:{port}", ca_file=authority.certificate) as pool,
    ):
        with pytest.raises(UpstreamUnreachable, match=r"Hostname mismatch|certificate is not valid for 'localhost'"):
            await fetch(pool)


@on_a_loop
async def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    async with (
        https(authority.server_context("DNS:localhost")) as port,
        pool_to(f"https://localhost:{port}") as pool,
    ):
        with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
            await fetch(pool)


@on_a_loop
async def test_a_certificate_that_has_expired_is_refused(authority: Authority) -> None:
    async with (
        https(authority.server_context("DNS:localhost", days=-1)) as port,
        pool_to(f"https://localhost:{port}", ca_file=authority.certificate) as pool,
    ):
        with pytest.raises(UpstreamUnreachable, match="expired"):
            await fetch(pool)


@on_a_loop
async def test_an_upstream_that_does_not_speak_tls_is_unreachable() -> None:
    async def plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"no TLS here"))
        await reader.read()

    async with raw_server(plainly) as port, pool_to(f"https://localhost:{port}") as pool:
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool)
