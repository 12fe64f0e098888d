"""Controls: what a measurement shows where the answer is known. Each is a record of kind ``control``.

From stored vectors, for any report: a planted association is found, shuffled attributes are not (``planted``,
``gathering``). With the model: speech against noise (``noise``), and the network without training (``twin``), of all
that a survey measured (``models``, which alone brings what loads models).
"""

from speechbias.controls.gathering import gather_controls
from speechbias.controls.planted import PLANTED, control, plant

__all__ = ["PLANTED", "control", "gather_controls", "plant"]
