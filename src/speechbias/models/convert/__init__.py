"""Foreign state dicts into our names and config, and back.

``names`` renames (fairseq, S3PRL, MelHuBERT; transformers), ``shapes`` reads the config off the tensors, ``fairseq``
and ``transformers`` read the settings that tensors do not show. Nothing here opens a file.
"""
