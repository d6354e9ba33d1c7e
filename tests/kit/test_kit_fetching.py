"""Extra certificate authorities, a proxy, and `pins refresh`, with servers of the test's own on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pypcapzc.kit import artefacts, data, refresh, sources
from pypcapzc.kit.failures import SourceError, SourceFileError
from pypcapzc.kit.trust import Trust

pytestmark = pytest.mark.kit
DIGEST = f"sha256:{'a' * 64}"
BASE = "b" * 64


class Handler(http.server.BaseHTTPRequestHandler):
    """A registry that wants a token, FreeBSD's site, and a proxy."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "/v2/" in self.path:
            if self.headers.get("Authorization") != "Bearer good":
                self.send_response(401)
                host = self.headers["Host"]
                challenge = f'Bearer realm="http://{host}/token",service="s",scope="repository:x/y:pull"'
                self.send_header("WWW-Authenticate", challenge)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._answer(b"{}", {"Docker-Content-Digest": DIGEST})
        elif self.path.startswith("/token"):
            self._answer(json.dumps({"token": "good"}).encode())
        elif self.path.endswith("/MANIFEST"):
            self._answer(f"base-dbg.txz\t{'c' * 64}\t1\nbase.txz\t{BASE}\t29000\tbase\n".encode())
        else:
            self._answer(b"content")

    def _answer(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYPCAPZC_HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        Handler.asked.clear()
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody knows, and its key beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    command += ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "ca.pem"


def test_another_authority(server: http.server.ThreadingHTTPServer, authority: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.server_port}/file"
    sha256 = hashlib.sha256(b"content").hexdigest()
    with pytest.raises(SourceError, match=r"cannot be reached.*CERTIFICATE_VERIFY_FAILED"):
        sources.download(url, tmp_path / "file", sha256, Trust())
    assert not (tmp_path / "file").exists()
    sources.download(url, tmp_path / "file", sha256, Trust(authority))
    assert (tmp_path / "file").read_bytes() == b"content"
    with Trust(authority).bundle() as bundle:
        assert bundle is not None
        text = bundle.read_text()
        assert authority.read_text().strip() in text
        assert text.count("BEGIN CERTIFICATE") > 50
    assert not bundle.exists()


def test_what_is_no_authority(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(SourceError, match="holds no certificate"):
        Trust(tmp_path / "no.pem").context()
    with pytest.raises(SourceFileError, match="--ca-cert takes certificates"):
        Trust(tmp_path / "nowhere.pem").context()


def test_a_proxy(
    server: http.server.ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    sources.download("http://site.invalid/file", tmp_path / "file", None, Trust())
    assert Handler.asked == ["http://site.invalid/file"]


class TestRefresh:
    @pytest.fixture(autouse=True)
    def pins(
        self, server: http.server.ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        """A docker/ whose pins name the server."""
        docker = tmp_path / "docker"
        docker.mkdir()
        at = f"127.0.0.1:{server.server_port}"
        (docker / "pins.toml").write_text(
            f'# What it is.\n\n# More.\n[images.base]\nname = "{at}/x/y:1"\ndigest = ""\n'
            f'[images.kept]\nname = "{at}/x/z:1"\ndigest = "sha256:old"\n'
            f'[sysroots.freebsd-amd64."13.5"]\nfile = "f"\nsha256 = ""\nurl = "http://{at}/13.5/base.txz"\n'
        )
        monkeypatch.setattr(data, "docker_dir", lambda: docker)
        return docker / "pins.toml"

    def test_what_is_empty_is_filled_in(self, pins: Path) -> None:
        path, changes = refresh.refresh(False, Trust(), print)
        assert path == pins
        assert [(change.pin, change.value) for change in changes] == [
            ("images.base.digest", DIGEST),
            ("sysroots.freebsd-amd64.13.5.sha256", BASE),
        ]
        assert artefacts.pinned_image().digest == DIGEST
        assert artefacts.image("kept").digest == "sha256:old"
        assert artefacts.sysroots("freebsd-amd64")[0].sha256 == BASE
        assert pins.read_text().startswith("# What it is.\n")

    def test_what_cannot_be_reached_stays_as_it_is(
        self, pins: Path, server: http.server.ThreadingHTTPServer
    ) -> None:
        pins.write_text(pins.read_text().replace(f":{server.server_port}", ":9"))
        before = pins.read_text()
        _, changes = refresh.refresh(False, Trust(), print)
        assert [change.value for change in changes] == [None, None]
        assert "cannot be reached" in changes[0].detail
        assert pins.read_text() == before

    def test_the_file_of_this_package_stays_what_it_says(self, tmp_path: Path) -> None:
        """Written and read back, nothing of it is lost."""
        real = Path(__file__).parents[2] / "docker" / "pins.toml"
        pins = artefacts.load(real)
        again = tmp_path / "again.toml"
        again.write_text("".join(refresh._tables(pins, ())))
        assert artefacts.load(again) == pins
