"""The paper's tables and figures made anew: ours beside the paper's and SpEAT's, with a verdict on each number.

``make`` turns records into an item's files; ``plan`` says what work an item takes, ``carry_out`` does it.
"""
