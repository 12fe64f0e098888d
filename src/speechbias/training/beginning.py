"""The model at step 0: drawn from the recipe's seed, or the weights of a checkpoint; or where a run was left."""

from dataclasses import dataclass, replace
from pathlib import Path

from speechbias.checkpoint import read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, MelFrontend, sized
from speechbias.models.distillation import DistillationSettings
from speechbias.models.hubert import HubertSettings
from speechbias.models.mel import MelStats, read_mel_stats
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import Objective, Settings, fresh, published_settings
from speechbias.training.recipe import Recipe
from speechbias.training.recipe_sections import OF_CORPUS, ModelSection

FAIRSEQ_SYMBOLS = 4  # of its dictionaries, before the first label


@dataclass(frozen=True, eq=False)
class Beginning:
    """What is known of the model before the corpus is: its shapes, and mel statistics unless they are the corpus's.

    ``said``: where the statistics come from, for those who may have expected others.
    """

    config: EncoderConfig
    mel_stats: MelStats | None = None
    said: str | None = None
    manifest_sha256: str | None = None  # of the corpus that a run has been trained on so far


def beginning(recipe: Recipe, left: Checkpoint | None = None) -> Beginning:
    """The beginning of a run; ``left`` is its own newest checkpoint, which says it all: no other is read.

    A MelHuBERT that goes on from a checkpoint hears through the statistics of that one: through others its weights
    would be those of another model. InputError for a checkpoint that is not what the recipe says.
    """
    if left is not None:
        return Beginning(left.config, left.meta.mel_stats, manifest_sha256=left.meta.provenance.get("manifest_sha256"))
    start, named = starting_checkpoint(recipe), recipe.model.mel_stats
    config = recipe.model.config() if start is None else start.config
    if named == OF_CORPUS or not isinstance(config.frontend, MelFrontend):
        return Beginning(config)
    if named is not None:
        return Beginning(config, read_mel_stats(Path(named)))
    if start is None:
        return Beginning(config)
    if start.meta.mel_stats is None:
        return Beginning(config, said=f"{start.name} carries no mel statistics: those of the corpus are taken")
    expected = recipe.prune is not None or recipe.distill is not None
    which = (
        f'mel statistics are those of {start.name}, not of the corpus ([model] mel_stats = "{OF_CORPUS}" takes those)'
    )
    return Beginning(config, start.meta.mel_stats, None if expected else which)


def starting_checkpoint(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint that the recipe starts from. InputError for one of another family or of other shapes."""
    if recipe.model.checkpoint is None:
        return None
    checkpoint = read_checkpoint(recipe.model.checkpoint)
    if checkpoint.config.family != recipe.family:
        has = checkpoint.config.family
        raise InputError(
            f'{recipe.model.checkpoint} is a {has}, the recipe\'s is {recipe.family}; write family = "{has}"'
        )
    _refuse_other_shapes(recipe.model, checkpoint.config)
    return checkpoint


SHAPES = ("layers", "dim", "ffn", "heads", "channels", "frame_ms")


def _refuse_other_shapes(model: ModelSection, config: EncoderConfig) -> None:
    """InputError where ``[model]`` says a shape beside its checkpoint that this one does not have."""
    has = _shapes(config)
    said = {key: str(getattr(model, key)) for key in SHAPES if getattr(model, key) is not None}
    for key, number in said.items():
        if number != has[key]:
            raise InputError(f"{model.checkpoint} has {key} {has[key]}, [model] says {number}; leave {key} out")
    size = {} if model.size is None else _shapes(sized(model.family, model.size))
    if other := [key for key in size if key not in said and size[key] != has[key]]:
        key = other[0]
        differing = f"{key} {has[key]}, the size {model.size!r} {size[key]}"
        raise InputError(f"{model.checkpoint} has {differing}; leave size out of [model]")


def _shapes(config: EncoderConfig) -> dict[str, str]:
    """The shapes of a network in words, by the keys of ``[model]``."""
    front = config.frontend
    made = {
        "layers": (config.num_layers,),
        "dim": (config.dim,),
        "ffn": config.ffn,
        "heads": config.heads,
        "channels": () if isinstance(front, MelFrontend) else front.channels,
        "frame_ms": (front.hop // 16,),
    }
    return {key: ", ".join(map(str, sorted(set(numbers)))) for key, numbers in made.items()}


def first_objective(recipe: Recipe, *, clusters: int | None) -> tuple[Objective, Settings]:
    """The objective as training starts from it, ready to be trained, and its sizes. ``clusters`` of the labels.

    Of a checkpoint everything is taken that has its place: all, or the encoder where it holds no more; embeddings of
    other labels are drawn anew.
    """
    start = starting_checkpoint(recipe)
    learnt = None if start is None or isinstance(start.settings, DistillationSettings) else start.settings
    settings = learnt or published_settings(recipe.family, recipe.model.size or "base")
    if clusters is not None:
        settings = _for_labels(settings, clusters)
    made = fresh(start.config if start else recipe.model.config(), settings, seed=recipe.run.seed)
    if start is not None:
        places = made.state_dict()
        given = {f"encoder.{name}": tensor for name, tensor in start.tensors.items()} | dict(start.objective_tensors)
        fitting = {n: tensor for n, tensor in given.items() if n in places and places[n].shape == tensor.shape}
        made.load_state_dict(fitting, strict=False)  # copied: those of the file stay mapped and as they are
    return prepared(made, recipe), settings


def prepared(objective: Objective, recipe: Recipe) -> Objective:
    """The objective with the recipe's regularisation and loss constants, in training mode.

    All of it is trained, but for a front end whose gradient counts nothing: that has no gradient, on no rank.
    """
    objective.requires_grad_(requires_grad=True)
    if objective.encoder.frontend is not None and recipe.regularisation.feature_grad_mult == 0:
        objective.encoder.frontend.requires_grad_(requires_grad=False)
    objective.encoder.regularise(recipe.regularisation)
    if recipe.objective is not None:
        objective.terms = recipe.objective
    return objective.train()


def _for_labels(settings: Settings, clusters: int) -> Settings:
    if isinstance(settings, HubertSettings):
        return replace(settings, labels=clusters + FAIRSEQ_SYMBOLS)
    return replace(settings, clusters=clusters) if isinstance(settings, MelHubertSettings) else settings
