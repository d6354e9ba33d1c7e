"""`pypcapzc run`: Python as it is, with the stand-ins in place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import savefiles, traffic
from lab.netns import Lab
from pypcapzc import compat
from support import cli

RUN = (*cli.COMMAND, "run")
PLAIN = (sys.executable,)


def _run(*command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    feed = changes.pop("feed", "")
    return subprocess.run(
        list(map(str, command)),
        input=feed,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": str(cli.ROOT), "PYTHONWARNINGS": "error", **changes},
    )


def _script(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


SHOW = """
import sys
print(__name__, __file__, sys.argv, sys.path[0], __spec__ and __spec__.name, __package__)
print(sys.stdin.read())
print("problem", file=sys.stderr)
"""
ENDS = {
    "exit": "raise SystemExit(7)",
    "text": "import sys; sys.exit('no way')",
    "traceback": "def f():\n    return 1 / 0\nf()",
    "syntax": "def (",
    "interrupt": "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(30)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(30)",
    "handlers": "import signal; print([signal.getsignal(each) for each in (2, 13, 15)])",
}


@pytest.mark.parametrize("end", ENDS)
def test_ends_as_python_does(tmp_path: Path, end: str) -> None:
    script = _script(tmp_path, ENDS[end])
    ours, python = _run(*RUN, script), _run(*PLAIN, script)
    assert (ours.returncode, ours.stdout, ours.stderr) == (python.returncode, python.stdout, python.stderr)


@pytest.mark.parametrize(
    "what",
    [["script.py", "-m", "--summary", "x y", "é"], ["-m", "script", "--mode", "1"], ["-", "a"], ["none.py"]],
)
def test_begins_as_python_does(tmp_path: Path, what: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _script(tmp_path, SHOW)
    monkeypatch.chdir(tmp_path)
    feed = "print(__name__, __import__('sys').argv)" if what[0] == "-" else "fed"
    ours, python = _run(*RUN, *what, feed=feed), _run(*PLAIN, *what, feed=feed)
    assert (ours.returncode, ours.stdout, ours.stderr) == (python.returncode, python.stdout, python.stderr)


def test_a_program_is_interrupted_as_by_python(tmp_path: Path) -> None:
    script = _script(tmp_path, "print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [*RUN, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli.environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert complaint.endswith("KeyboardInterrupt\n")


MODULES = """
import importlib.util
import pcap, pcapy, pylibpcap, pylibpcap.base
from pylibpcap.exception import LibpcapError
from pcapy import PcapError
print(pcap.__name__, pcapy.__name__, pylibpcap.base.__name__, importlib.util.find_spec("pylibpcap.none"))
"""


def test_the_stand_ins_are_in_place(tmp_path: Path) -> None:
    done = _run(*RUN, _script(tmp_path, MODULES))
    package = compat.__name__
    assert done.stdout == f"{package}.pcap {package}.pcapy {package}.pylibpcap.base None\n", done.stderr


def test_without_run_there_are_none() -> None:
    for name in compat.STAND_INS:
        done = _run(*PLAIN, "-c", f"import importlib.util; print(importlib.util.find_spec({name!r}))")
        assert done.stdout == "None\n"


def test_processes_of_the_program_have_them_too(tmp_path: Path) -> None:
    text = """
import multiprocessing, subprocess, sys
def work(number):
    import pcap
    return pcap.__name__
if __name__ == "__main__":
    print(subprocess.run([sys.executable, "-c", "import pcapy; print(pcapy.__name__)"],
                         capture_output=True, text=True).stdout.strip())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1])[0])
"""
    done = _run(*RUN, _script(tmp_path, text), PYTHONPATH="")
    assert done.stdout == f"{compat.__name__}.pcapy\n{compat.__name__}.pcap\n", done.stderr


def test_another_sitecustomize_still_runs(tmp_path: Path) -> None:
    _script(tmp_path, "import sys\nsys.customized = __file__\n", "sitecustomize.py")
    script = _script(
        tmp_path, "import sys, pcap\nprint(sys.customized, sys.modules['sitecustomize'].__file__)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(cli.ROOT)])
    done = _run(*RUN, script, PYTHONPATH=path)
    expected = str(tmp_path / "sitecustomize.py")
    assert done.stdout == f"{expected} {expected}\n", done.stderr


def test_a_module_of_the_program_goes_before(tmp_path: Path) -> None:
    _script(tmp_path, "MINE = True\n", "pcap.py")
    (tmp_path / "pcapy").mkdir()  # a folder of savefiles, say
    done = _run(*RUN, _script(tmp_path, "import pcap, pcapy\nprint(pcap.MINE, pcapy.__name__)\n"))
    assert done.stdout == f"True {compat.__name__}.pcapy\n", done.stderr


def test_no_more_is_loaded_than_is_used(tmp_path: Path) -> None:
    text = "import sys\nprint([each for each in sys.modules if 'ctypes' in each or 'compat.pcap' in each])\n"
    assert _run(*RUN, _script(tmp_path, text)).stdout == "[]\n"


def test_install_in_a_program(tmp_path: Path) -> None:
    text = """
import pypcapzc.compat
pypcapzc.compat.install(mode="buffered", buffer_size=1 << 20)
pypcapzc.compat.install(mode="buffered", buffer_size=1 << 20)
import pcap
print(pcap.__name__)
pypcapzc.compat.uninstall()
try:
    import pcapy
except ImportError:
    print("gone")
try:
    pypcapzc.compat.install(mode="none")
except ValueError as error:
    print(error)
"""
    done = _run(*PLAIN, _script(tmp_path, text))
    assert (
        done.stdout
        == f"{compat.__name__}.pcap\ngone\nmode is 'none'; it is one of auto, zerocopy, buffered\n"
    )


@pytest.mark.parametrize("imported", ["from scapy.all import *", "from scapy.sendrecv import sniff"])
def test_scapy_captures_here(tmp_path: Path, imported: str) -> None:
    pytest.importorskip("scapy", reason="needs pypcapzc[scapy]")
    saved = tmp_path / "saved"
    savefiles.write_pcap(saved, savefiles.numbered(3))
    text = f"""
{imported}
import inspect, sys, scapy.sendrecv
from scapy.config import conf
print(conf.L2listen.__module__, len(sniff(offline=sys.argv[1])))
assert "def sniff" in inspect.getsource(scapy.sendrecv)
"""
    done = _run(*RUN, "--buffer-size", "1M", _script(tmp_path, text), saved, PYTHONWARNINGS="default")
    assert done.stdout == "pypcapzc.scapy.sockets 3\n", done.stderr


@pytest.mark.parametrize(
    "wrong", [[], ["-m"], ["--mode", "none", "x"], ["--buffer-size", "0", "x"], ["--nonsense", "x"]]
)
def test_wrong_usage(wrong: list[str]) -> None:
    done = _run(*RUN, *wrong)
    assert done.returncode == 2
    assert re.fullmatch(r"pypcapzc: .*pypcapzc run --help`\n", done.stderr), done.stderr


CAPTURES = """
import os, sys
import pcap, pcapy, pylibpcap
handle = pcap.pcap(sys.argv[1], timeout_ms=50)
reader = pcapy.open_live(sys.argv[1], 65535, 1, 50)
sniffer = pylibpcap.Sniff(sys.argv[1], timeout=50)
print("ready", flush=True)
for number, (ts, data) in enumerate(handle, 1):
    if number == 100:
        break
reader.loop(30, lambda header, data: None)
packets = (each for each in sniffer.capture() if each[0])
next(packets)
handle.close()
child = os.fork()  # it captures nothing, and says nothing
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.netns
@pytest.mark.parametrize("mode", ["auto", "buffered"])
def test_the_summary_counts_what_the_program_was_given(net: Lab, tmp_path: Path, mode: str) -> None:
    script = _script(tmp_path, CAPTURES)
    with net.inside():
        process = subprocess.Popen(
            [*RUN, "--summary", "--mode", mode, "--buffer-size", "8M", str(script), net.capture_device],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=cli.environment(PYTHONPATH=str(cli.ROOT)),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with traffic.Sender(net.send_device) as sender:
            sender.send(100)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    found = re.fullmatch(
        rf"pypcapzc: {net.capture_device}: 131 packets captured, 300 received, 0 dropped by the kernel, "
        r"0 by the interface(, \d+ not read by the program)?\n",
        said,
    )
    assert found, said


SNIFFS = """
import os, sys, threading
from scapy.all import AsyncSniffer, conf, sniff
begun = threading.Event()
other = AsyncSniffer(iface=sys.argv[1], started_callback=begun.set, count=100)
other.start()
begun.wait(30)
unread = conf.L2listen(iface=sys.argv[1])
sniff(iface=sys.argv[1], prn=lambda p: None, store=False, count=70, timeout=30,
      started_callback=lambda: print("ready", flush=True))
unread.recv()
other.join(30)
child = os.fork()  # it captures nothing, and says nothing
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.netns
def test_the_summary_counts_what_scapy_was_given(net: Lab, tmp_path: Path) -> None:
    pytest.importorskip("scapy", reason="needs pypcapzc[scapy]")
    script = _script(tmp_path, SNIFFS)
    with net.inside():
        process = subprocess.Popen(
            [*RUN, "--summary", "--buffer-size", "8M", str(script), net.capture_device],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(cli.ROOT)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with traffic.Sender(net.send_device) as sender:
            sender.send(100)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    found = re.findall(r"^pypcapzc: .*$", said, re.MULTILINE)
    assert len(found) == 1, said
    assert re.fullmatch(
        rf"pypcapzc: {net.capture_device}: 171 packets captured, 300 received, 0 dropped by the kernel, "
        r"0 by the interface(, \d+ not read by the program)?",
        found[0],
    )
