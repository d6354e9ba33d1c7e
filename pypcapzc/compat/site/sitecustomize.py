"""What `pypcapzc run` has Python run at its start, by way of PYTHONPATH; in the program's own processes too.

No module of the package: Python imports it by its bare name, and any Python that the program starts may do
so, one that has no pypcapzc or is too old for it as well.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.dirname(os.path.dirname(_HERE))


def _install() -> None:
    """Put the stand-ins in place, from the pypcapzc that this file belongs to."""
    wanted = os.environ.get("PYPCAPZC_RUN")
    if not wanted or sys.version_info < (3, 10):
        return
    if "pypcapzc" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "pypcapzc", os.path.join(_PACKAGE, "__init__.py"), submodule_search_locations=[_PACKAGE]
        )
        if spec is None or spec.loader is None:
            return
        sys.modules["pypcapzc"] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    from pypcapzc.compat import install

    install(**json.loads(wanted))


def _run_the_next() -> None:
    """The sitecustomize that Python would have run without this one."""
    others = [each for each in sys.path if os.path.abspath(each) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


_install()
_run_the_next()
