"""Every benchmark, after a line about the machine."""

from benchmarks import embedding, machine, statistics

print(machine.describe())
print("\nStatistics, one core (python -m benchmarks.statistics)")
statistics.main()
print("\nEmbedding (python -m benchmarks.embedding)")
embedding.main()
