"""Phoneme recognition on frozen encoders (paper, Section 3.3 and Table 4): what a model is still good for.

SUPERB's "PR" of S3PRL: a softmax-weighted sum of an encoder's hidden states, two linear layers, CTC, greedy decoding,
phone error rate over the corpus. Beside it: every learning rate that was tried, and error rates by group.
"""
