"""Every benchmark, after a line about the machine."""

from benchmarks import (
    checkpoints,
    compare,
    contrastive,
    embedding,
    inference,
    loading,
    machine,
    memory,
    probe,
    pruning,
    ranks,
    sampling,
    statistics,
    training,
)

print(machine.describe())
print("\nStatistics, one core (python -m benchmarks.statistics)")
statistics.main()
print("\nMany curves together, one core (python -m benchmarks.compare)")
compare.main()
print("\nLoading (python -m benchmarks.loading)")
loading.main()
print("\nMemory (python -m benchmarks.memory)")
memory.main()
print("\nCheckpoints of one run (python -m benchmarks.checkpoints)")
checkpoints.main()
print("\nSampling (python -m benchmarks.sampling)")
sampling.main()
print("\nEmbedding (python -m benchmarks.embedding)")
embedding.main()
print("\nInference, one core (python -m benchmarks.inference [FAMILY-SIZE...])")
inference.main()
print("\nTraining step, one core (python -m benchmarks.training [FAMILY-SIZE...])")
training.main()
print("\nTwo processes that train together (python -m benchmarks.ranks)")
ranks.main()
print("\nContrastive loss, one core (python -m benchmarks.contrastive)")
contrastive.main()
print("\nPruning, one core (python -m benchmarks.pruning)")
pruning.main()
print("\nProbing, one core (python -m benchmarks.probe)")
probe.main()
