"""The model at step 0: drawn from the recipe's seed, or the weights of a checkpoint."""

from dataclasses import replace

from speechbias.checkpoint import read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig
from speechbias.models.hubert import HubertSettings
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import Objective, Settings, fresh, published_settings
from speechbias.training.recipe import Recipe

FAIRSEQ_SYMBOLS = 4  # of its dictionaries, before the first label


def starting_checkpoint(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint that the recipe starts from. InputError for one of another family."""
    if recipe.model.checkpoint is None:
        return None
    checkpoint = read_checkpoint(recipe.model.checkpoint)
    if checkpoint.config.family != recipe.family:
        raise InputError(f"{recipe.model.checkpoint} is a {checkpoint.config.family}, the recipe's is {recipe.family}")
    return checkpoint


def model_config(recipe: Recipe) -> EncoderConfig:
    """The shapes of the model: the recipe's, or those of the checkpoint that it starts from."""
    start = starting_checkpoint(recipe)
    return recipe.model.config() if start is None else start.config


def first_objective(recipe: Recipe, *, clusters: int | None) -> tuple[Objective, Settings]:
    """The objective as training starts from it, ready to be trained, and its sizes. ``clusters`` of the labels.

    Of a checkpoint everything is taken that has its place: all, or the encoder where it holds no more; embeddings of
    other labels are drawn anew.
    """
    start = starting_checkpoint(recipe)
    settings = start.settings if start and start.settings else None
    settings = settings or published_settings(recipe.family, recipe.model.size or "base")
    if clusters is not None:
        settings = _for_labels(settings, clusters)
    made = fresh(start.config if start else recipe.model.config(), settings, seed=recipe.run.seed)
    if start is not None:
        places = made.state_dict()
        given = {f"encoder.{name}": tensor for name, tensor in start.tensors.items()} | dict(start.objective_tensors)
        fitting = {name: tensor for name, tensor in given.items() if places[name].shape == tensor.shape}
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
