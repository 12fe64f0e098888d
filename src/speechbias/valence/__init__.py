"""Does a valence predictor, trained on emotional speech, rate one group higher? Its gap between X and Y beside d.

SpEAT trains such predictors on its models' embeddings of one emotional corpus and asks whether the sign of d is that
of the difference in predicted valence (Slaughter et al. 2023, arXiv 2310.18877: in 66 of 96 tests). There it is a
weighted sum of layers and a dense layer, with clips divided at random (``train_emotion_model.py``). Here it is ridge
regression on one layer's stored vectors (``inference.ridge``), with the clips of A (pleasant, 1) and B (unpleasant, 0)
as the corpus, cross-validated by talker. No model, no audio.

What is predicted is a property of this predictor, not of the people who speak. Where it cannot tell A from B on
talkers that it has not heard, its gap means nothing.
"""

from speechbias.valence.gap import Corpus, Gap, Predictor, predict_gap
from speechbias.valence.record import AT_CHANCE, measure_valence

__all__ = ["AT_CHANCE", "Corpus", "Gap", "Predictor", "measure_valence", "predict_gap"]
