"""What is mended and promised on the simulated BPF device, in the other versions that have a series."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bpfsim.test_defects import DEFECTS, LENT, LENT_READ, READ_TOO, mode, passes, program, run
from support import bpfsim
from support.patches import NEWEST, VERSIONS, Workshop

pytestmark = [pytest.mark.bpfsim, pytest.mark.timeout(300)]


def cases() -> Iterator[tuple[str, str, bool]]:
    for case in DEFECTS:
        yield "zcbpf", case, False
        if case in READ_TOO:
            yield "zcbpf", case, True
    for name, promised in LENT.items():
        for case in promised:
            yield name, case, False
            if case in LENT_READ:
                yield name, case, True


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != NEWEST])
def test_every_case_passes(workshop: Workshop, version: str) -> None:
    """With a plain build of each; the newest has its own tests, and those with sanitizers."""
    tree = workshop.tree(version, patched=True)
    library = bpfsim.build(tree, workshop.root)
    for name in ("zcbpf", *LENT):
        program(name, library, tree, "plain")
    every = list(cases())
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(
            lambda one: run(one[0], one[1], library, tree, BPFSIM_ALARM="100", **mode(one[2])), every
        )
        failed = {
            case: result.stdout + result.stderr
            for case, result in zip(every, done, strict=True)
            if not passes(result)
        }
    assert not failed
