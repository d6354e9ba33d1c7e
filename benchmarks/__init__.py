"""Measures pypcapzc beside its peers: ``python -m benchmarks.run --help``, docs/benchmarks.md."""
