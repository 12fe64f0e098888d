"""Pre-training: from a corpus to a checkpoint. Makers import everything below; nothing that measures imports them."""
