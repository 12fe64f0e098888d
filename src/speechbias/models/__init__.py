"""Speech encoders with weights: other people's models, through transformers, as ``speechbias.encoder.Encoder``."""
