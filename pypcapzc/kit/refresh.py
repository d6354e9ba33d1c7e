"""``pins refresh``: reads what ``docker/pins.toml`` pins, and writes it there.

What is read here for the first time is believed: over HTTPS, from whom the file names.  Whoever commits the
file looks at what has changed.  Only what is empty is filled in, unless all is asked for.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import artefacts, wheels
from .failures import SourceError
from .sources import incoming, sha256_of
from .trust import Trust

_PATIENCE = 20.0
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_HOSTS = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Change:
    """A pin, and what came of it."""

    pin: str
    value: str | None
    detail: str


def refresh(everything: bool, trust: Trust, report: Callable[[str], None]) -> tuple[Path, list[Change]]:
    """Read what is empty, or all of it; returns the file that was written and what changed."""
    pins = artefacts.read()
    readers: list[tuple[tuple[str, ...], str, Callable[[], str]]] = []
    for key, table in pins.get("images", {}).items():
        readers.append((("images", key), "digest", partial(digest_of, table["name"], trust)))
    for target, releases in pins.get("sysroots", {}).items():
        for release, table in releases.items():
            readers.append((("sysroots", target, release), "sha256", partial(base_sha256, table, trust)))
    changes = []
    for where, key, reader in readers:
        old = _at(pins, where)[key]
        if old and not everything:
            continue
        name = ".".join((*where, key))
        report(f"reading {name}")
        try:
            value = reader()
        except SourceError as error:
            changes.append(Change(name, None, str(error)))
            continue
        if value != old:
            changes.append(Change(name, value, f"was {old}" if old else "was empty"))
            _at(pins, where)[key] = value
    if everything:
        changes += _refreshed_wheels(pins, trust, report)
    return _written(pins, changes), changes


def _at(pins: dict[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
    for key in where:
        pins = pins[key]
    return pins


def digest_of(name: str, trust: Trust) -> str:
    """The digest of an image's index, by the registry's own protocol."""
    registry, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    scheme = "http" if registry.startswith(("localhost:", "127.0.0.1:")) else "https"
    url = f"{scheme}://{_HOSTS.get(registry, registry)}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": ", ".join(_INDEXES)}
    try:
        answer = _asked(url, headers, trust)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge.startswith("Bearer "):
            raise SourceError(f"{url}: {error.code} {error.reason}") from None
        headers["Authorization"] = f"Bearer {_token(challenge, trust)}"
        try:
            answer = _asked(url, headers, trust)
        except OSError as again:
            raise SourceError(f"{url}: {again}") from None
    except OSError as error:
        raise SourceError(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from None
    digest = answer[0].get("Docker-Content-Digest", "")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SourceError(f"{url} says no digest")
    return str(digest)


def _asked(url: str, headers: dict[str, str], trust: Trust) -> tuple[Any, bytes]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_PATIENCE, context=trust.context()) as answer:
        return answer.headers, answer.read(1 << 20)


def _token(challenge: str, trust: Trust) -> str:
    """What a registry lets anybody have who asks where it says."""
    words = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    url = f"{words.get('realm', '')}?service={words.get('service', '')}&scope={words.get('scope', '')}"
    try:
        _, content = _asked(url, {}, trust)
        found = json.loads(content)
        return str(found.get("token") or found["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{url} gives no token ({error})") from None


def base_sha256(table: dict[str, Any], trust: Trust) -> str:
    """The sha256 of base.txz, from the MANIFEST that FreeBSD puts beside it."""
    reasons = []
    for url in (table[key] for key in ("url", "archive") if table.get(key)):
        manifest = url.rpartition("/")[0] + "/MANIFEST"
        try:
            _, content = _asked(manifest, {}, trust)
        except OSError as error:
            reasons.append(f"{manifest} cannot be reached ({getattr(error, 'reason', error)})")
            continue
        if found := re.search(rb"^base\.txz\t([0-9a-f]{64})\t", content, re.MULTILINE):
            return found[1].decode()
        reasons.append(f"{manifest} does not tell of base.txz")
    raise SourceError("; ".join(reasons))


def _refreshed_wheels(pins: dict[str, Any], trust: Trust, report: Callable[[str], None]) -> Iterator[Change]:
    """Have pip fetch the versions that are installed here, for both processors, and hash them."""
    from importlib import metadata

    for name, table in pins["wheels"].items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = table["version"]
        for processor in artefacts.PROCESSORS:
            report(f"reading wheels.{name}.{processor}")
            with tempfile.TemporaryDirectory() as folder:
                try:
                    wheel = wheels.newest(name, version, processor, Path(folder), trust)
                except SourceError as error:
                    yield Change(f"wheels.{name}.{processor}", None, str(error))
                    continue
                new = {"file": wheel.name, "sha256": sha256_of(wheel)}
            if new != table.get(processor):
                yield Change(f"wheels.{name}.{processor}", new["sha256"], f"version {version}")
                table[processor] = new
        table["version"] = version


def _written(pins: dict[str, Any], changes: list[Change]) -> Path:
    path = artefacts.packaged()
    if not os.access(path, os.W_OK):
        path = artefacts.own()
    if any(change.value for change in changes):
        path.parent.mkdir(parents=True, exist_ok=True)
        comment = "".join(_comments(artefacts.packaged()))
        with incoming(path) as temporary:
            temporary.write_text(comment + "".join(_tables(pins, ())))
    return path


def _comments(path: Path) -> Iterator[str]:
    """The lines at the top of the file, which say what it is."""
    for line in path.read_text().splitlines(keepends=True):
        if not line.startswith("#"):
            return
        yield line


def _tables(table: dict[str, Any], where: tuple[str, ...]) -> Iterator[str]:
    """As TOML: this file has strings and tables, and nothing else."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if plain:
        yield f"\n[{'.'.join(_key(part) for part in where)}]\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _tables(value, (*where, key))


def _key(part: str) -> str:
    return part if re.fullmatch(r"[\w-]+", part) else json.dumps(part)
