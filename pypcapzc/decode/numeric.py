"""numpy, or an error that says how to get it."""

from __future__ import annotations

try:
    import numpy as np
except ImportError as error:  # pragma: no cover - numpy is there wherever the tests run
    raise ImportError("this needs numpy: pip install 'pypcapzc[numpy]'") from error

__all__ = ["np"]
