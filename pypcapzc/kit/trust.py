"""Certificate authorities for what is fetched: this system's, and one file more.

A proxy needs nothing of ours: ``HTTPS_PROXY`` and its kin are heeded by urllib and pip alike.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .failures import SourceError, SourceFileError

_KNOWN = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Trust:
    """Whom to believe."""

    extra: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For urllib."""
        context = ssl.create_default_context()
        if self.extra is not None:
            self._text()
            context.load_verify_locations(cafile=str(self.extra))
        return context

    @contextmanager
    def bundle(self) -> Iterator[Path | None]:
        """For pip: one file with everything, there until the block ends; None for what pip has by itself."""
        if self.extra is None:
            yield None
            return
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{self._text()}\n{_system()}")
            file.flush()
            yield Path(file.name)

    def _text(self) -> str:
        """The extra file, after a look whether it is what it must be."""
        assert self.extra is not None
        try:
            text = self.extra.read_text(encoding="ascii", errors="replace")
            ssl.create_default_context(cadata=text)
        except FileNotFoundError:
            raise SourceFileError(
                f"{self.extra}: there is no such file; --ca-cert takes certificates"
            ) from None
        except (ssl.SSLError, ValueError) as error:
            raise SourceError(
                f"{self.extra} holds no certificate that can be read ({error}): --ca-cert takes PEM"
            ) from error
        return text


def _system() -> str:
    named = [os.environ[name] for name in _KNOWN if os.environ.get(name)]
    for name in (*named, ssl.get_default_verify_paths().cafile):
        if name and Path(name).is_file():
            return Path(name).read_text(encoding="ascii", errors="replace")
    import certifi  # which docker-py's requests brings

    return Path(certifi.where()).read_text(encoding="ascii", errors="replace")
