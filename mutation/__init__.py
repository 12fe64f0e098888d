"""Does a test notice when the statistics are wrong? One small fault at a time, and its tests: ``make mutants``."""
