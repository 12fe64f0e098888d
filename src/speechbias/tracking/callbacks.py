"""The tracker in other people's training loops: thin callbacks of transformers' ``Trainer`` and of Lightning.

Both begin with the step from which training starts (0, or that of a resumed run, whose later records are taken back)
and look again after every optimiser update. With many processes the first one measures and the others wait for it at
their next exchange of gradients.
"""

from collections.abc import Callable
from typing import Any, Protocol

from speechbias.extras import MissingExtraError


class Tracker(Protocol):
    """What a ``BiasTracker`` can do for a callback."""

    def __call__(self, step: int, module: Any) -> object:
        """Track this step if it is due."""

    def holds(self, step: int) -> bool:
        """Whether it was tracked."""

    def take_back(self, step: int) -> int:
        """Forget later steps."""


def trainer_callback(tracker: Tracker) -> Any:
    """A ``TrainerCallback`` of transformers. InputError where that is not installed."""
    try:
        from transformers import TrainerCallback  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("trainer_callback needs transformers: pip install 'speechbias[hf]'") from None

    class BiasCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
        """d at chosen steps of a ``Trainer``."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            """Step 0, or where a resumed run goes on."""
            if state.is_world_process_zero:
                begin(tracker, state.global_step, given["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
            """After an optimiser update."""
            if state.is_world_process_zero:
                tracker(state.global_step, given["model"])

    return BiasCallback()


def lightning_callback(tracker: Tracker, *, module: Callable[[Any], Any]) -> Any:
    """A ``Callback`` of Lightning. InputError where neither ``lightning`` nor ``pytorch_lightning`` is installed."""
    base = _lightning_base()

    class BiasCallback(base):  # type: ignore[misc, valid-type]
        """d at chosen steps of a Lightning ``Trainer``."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Step 0, or where a resumed run goes on."""
            if trainer.is_global_zero:
                begin(tracker, trainer.global_step, module(pl_module))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            """After a batch; ``global_step`` counts updates, and one that was tracked is not tracked again."""
            if trainer.is_global_zero:
                tracker(trainer.global_step, module(pl_module))

    return BiasCallback()


def begin(tracker: Tracker, step: int, module: Any) -> None:
    """The first step of a run or of what is left of one."""
    tracker.take_back(step)
    if not tracker.holds(step):
        tracker(step, module)


def _lightning_base() -> type:
    try:
        from lightning.pytorch import Callback  # noqa: PLC0415
    except ImportError:
        try:
            from pytorch_lightning import Callback  # noqa: PLC0415
        except ImportError:
            raise MissingExtraError("lightning_callback needs Lightning: pip install lightning") from None
    base: type = Callback
    return base
