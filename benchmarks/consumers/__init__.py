"""One module per library that is measured; each run is a fresh process of one of them.

They run in the library's own virtual environment: nothing but the standard library and that
library may be imported here.
"""
