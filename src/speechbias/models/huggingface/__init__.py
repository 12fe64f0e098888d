"""Other people's speech encoders, through ``transformers``, as ``speechbias.encoder.Encoder``."""
