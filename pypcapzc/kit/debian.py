"""libpcap's tarball from a Debian source package, by apt, with nothing of the system's changed.

apt runs with its own state, cache and list of sources in a temporary folder.  The list holds one deb-src
entry for the suite that is wanted, on the mirror that this system's own entries (as apt itself reads them, in
either format) name.  Its signature is checked with the keyring of that entry: a suite whose key the keyring
lacks is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .failures import SourceError
from .pins import Debian

_ARCHIVE_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PATIENCE = 300.0
_KEY = "debian/upstream/signing-key.asc"

# Hooks of the system's configuration would run on its own state; #clear takes them out.
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb;
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/deb-src.sources";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Get::List-Cleanup "false";
"""


@dataclass(frozen=True)
class Mirror:
    """Where this system gets Debian's main archive from."""

    uri: str
    keyring: Path | None


@contextmanager
def fetched(wanted: Debian, report: Callable[[str], None]) -> Iterator[list[Path]]:
    """The files of the source package, there until the block ends."""
    if shutil.which("apt-get") is None:
        raise SourceError("Debian's archive takes apt-get, which is not here")
    mirror = find_mirror()
    report(f"fetching Debian's source package {wanted.source} ({wanted.suite})")
    with tempfile.TemporaryDirectory(prefix="pypcapzc-apt-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt downloads as its own user when root runs it
        _write(folder, wanted.suite, mirror)
        _run(folder, ["update"], wanted)
        _run(folder, ["source", "--download-only", "--only-source", wanted.source], wanted)
        yield sorted(folder.glob(f"{wanted.source}_*"))


def find_mirror() -> Mirror:
    """The mirror of Debian's main archive among the sources that apt has configured."""
    form = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(SOURCESENTRY)"
    # Without release information: what is configured, whether or not its lists were ever fetched.
    command = ["apt-get", "indextargets", "--no-release-info", "--format", form]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    ranked = []
    for line in dict.fromkeys(done.stdout.splitlines()):
        uri, release, component, entry = line.split("\t")
        if component == "main" and "-" not in release:
            named_debian = uri.rstrip("/").rpartition("/")[2] == "debian"
            ranked.append((not named_debian, uri, entry))
    if not ranked:
        raise SourceError("apt has no Debian archive configured")
    _, uri, entry = min(ranked, key=lambda row: row[0])
    return Mirror(uri, _keyring(Path(entry.rpartition(":")[0])))


def _keyring(entry: Path) -> Path | None:
    """The keyring that the entry names, else Debian's; None for apt's default."""
    try:
        named = re.findall(
            r"signed-by\s*[:=]\s*(/[^\s,\]]+)", entry.read_text(errors="replace"), re.IGNORECASE
        )
    except OSError:
        named = []
    return next((path for path in (*map(Path, named), _ARCHIVE_KEYRING) if path.is_file()), None)


def _write(folder: Path, suite: str, mirror: Mirror) -> None:
    (folder / "status").touch()
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "apt.conf").write_text(_CONFIGURATION.format(folder=folder))
    lines = ["Types: deb-src", f"URIs: {mirror.uri}", f"Suites: {suite}", "Components: main"]
    if mirror.keyring is not None:
        lines.append(f"Signed-By: {mirror.keyring}")
    (folder / "deb-src.sources").write_text("\n".join(lines) + "\n")


def _run(folder: Path, command: list[str], wanted: Debian) -> None:
    try:
        done = subprocess.run(
            ["apt-get", "-q", "-c", str(folder / "apt.conf"), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"apt-get {command[0]} was not done within {_PATIENCE:.0f} s") from None
    output = done.stdout.decode(errors="replace")
    # update goes on, and returns 0, where a file could not be had.
    complaints = re.findall(r"^(?:E|Err|W): ?(.*)$|^Err:\d+ (.*)$", output, re.MULTILINE)
    if missing := re.search(r"NO_PUBKEY (\w+)", output):
        raise SourceError(
            f"Debian {wanted.suite} is signed with the key {missing[1]}, which this system's keyring lacks "
            f"(apt-get install debian-archive-keyring brings a newer one)"
        )
    if done.returncode or (command[0] == "update" and not list((folder / "state/lists").glob("*Sources*"))):
        said = next((" ".join(filter(None, found)) for found in complaints), f"exit code {done.returncode}")
        raise SourceError(
            f"Debian's archive does not give {wanted.source} of {wanted.suite} ({said.strip()})"
        )


def signing_key(files: Sequence[Path]) -> bytes | None:
    """Upstream's public key, which Debian's packaging carries."""
    for path in files:
        if ".debian.tar." in path.name:
            try:
                with tarfile.open(path) as archive:
                    file = archive.extractfile(_KEY)
                    return file.read() if file else None
            except (KeyError, tarfile.TarError):
                return None
    return None
