"""Our network as an ONNX file, and such a file as an ``Encoder``. What is written runs without this package.

The graph is written node by node from the modules, not traced: torch's older exporter has no layer norm over a length
that is not known, its newer one needs two packages more, and a graph of one's own has names one can read, is the same
bytes every time, and says which products may be quantised.
"""
