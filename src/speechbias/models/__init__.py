"""Speech encoders with weights.

The three families of the paper are our own network (``config``, ``frontend``, ``transformer``, ``network``), because
measuring, pre-training, pruning and distilling all act on it; ``wav2vec2``, ``hubert`` and ``melhubert`` add what each
pre-training needs, ``convert`` the names of foreign state dicts. ``huggingface`` is everybody else's encoder.
"""
