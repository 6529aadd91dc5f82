"""Models by name: published architectures with random weights, or with weights from disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from hwlut.fields import shorten
from hwlut.train.models.encoder import SeriesTransformer
from hwlut.train.models.families import ALIASES, PUBLISHED, Published, small
from hwlut.train.models.inputs import Inputs, Series, Tokens
from hwlut.train.packages import needed
from hwlut.train.states import load_state, read_tensors

__all__ = ["MODELS", "checked_model", "model", "published"]

_SERIES = "series-transformer"
_SERIES_CONFIG = ("width", "depth", "heads")
_MOMENTUM = 0.1

MODELS: tuple[str, ...] = (*PUBLISHED, *ALIASES, _SERIES)
"""The names that `model` knows."""


def model(
    name: str,
    inputs: Inputs,
    classes: int,
    *,
    weights: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    told: Callable[[str], None] | None = None,
) -> nn.Module:
    """The model of a name, as it is published, but for what it is given and how many classes it tells apart.

    Parameters
    ----------
    name: one of `MODELS`. All but ``series-transformer``, which is ours, are built by transformers from its config,
        with attention in plain torch and no cache; nothing is downloaded.
    inputs: what it is to take. Patches of DeiT are at most 16 x 16 and leave 7 x 7 of them, or are 2 x 2; the stems of
        ResNet, EfficientNet and MobileNetV2 do not halve images of up to 16 pixels.
    classes: 1 for a regression.
    weights: a folder as ``save_pretrained`` writes it, or a .safetensors file, with the same names; by default weights
        are drawn by torch's generator. A last layer of another size is left out; else all must fit. All become float32.
    config: keys of the config that are to differ from the published: {"num_hidden_layers": 2}, or for
        ``series-transformer`` width, depth and heads.
    told: called with a line about each part that the weights leave as drawn.

    Batch normalization starts as the identity, where transformers draws EfficientNet's scales around 0, from which it
    does not learn, and keeps a tenth of each batch, as torch does by default; the decays of 0.99 and 0.997 that were
    published in TensorFlow's terms are, in torch's, what transformers takes of the newest batch.
    ValueError for another name, inputs of another kind, and weights or a config that do not fit, each in one line.
    """
    name = checked_model(name, type(inputs))
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"model classes must be an integer of at least 1, not {shorten(classes)}")
    if isinstance(inputs, Series):
        return _series(inputs, classes, weights, dict(config or {}))
    needed("transformers")
    import transformers

    family = PUBLISHED[name].family
    settings = _config(name, PUBLISHED[name], inputs, classes, dict(config or {}))
    kind = "Sequence" if isinstance(inputs, Tokens) else "Image"
    build = getattr(transformers, f"{family.name}For{kind}Classification")
    with _quiet():
        built = build(settings) if weights is None else _loaded(name, build, settings, Path(weights), told)
    _fitted(built, inputs, drawn=weights is None)
    return built


def published(name: str) -> Published | None:
    """What is known of a checked name; None for a model of ours."""
    return PUBLISHED.get(name)


def checked_model(name: str, kind: type) -> str:
    """The name, not an alias; ValueError unless there is such a model and it takes inputs of this kind."""
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, not {shorten(name)}")
    if _taken(name) is not kind:
        others = ", ".join(each for each in MODELS if _taken(each) is kind)
        taken = _taken(name).__name__.lower()
        raise ValueError(f"model of {kind.__name__.lower()} must be one of {others}, not {name}, which takes {taken}")
    return ALIASES.get(name, name)


def _taken(name: str) -> type:
    """The kind of inputs that a model takes."""
    found = published(ALIASES.get(name, name))
    return Series if found is None else found.family.inputs


def _series(inputs: Series, classes: int, weights: str | Path | None, config: dict[str, Any]) -> nn.Module:
    for key in config:
        if key not in _SERIES_CONFIG:
            raise ValueError(f"{_SERIES} config must be of {', '.join(_SERIES_CONFIG)}, not {shorten(key)}")
    built = SeriesTransformer(inputs.channels, inputs.length, classes, **config)
    if weights is not None:
        load_state(Path(weights), built)
    return built


def _config(name: str, found: Published, inputs: Any, classes: int, given: dict[str, Any]) -> Any:
    """The published config, what is given in the place of it, and what follows from the inputs."""
    import transformers

    family, kind = found.family, getattr(transformers, f"{found.family.name}Config")
    wanted = family.general | found.config | given
    fitted = family.fit(inputs, wanted) | {"num_labels": classes}
    known = set(kind().to_dict())
    for key in given:
        if key in fitted:
            raise ValueError(f"{name} config {key} must be left to the inputs, not {shorten(given[key])}")
        if key not in known:
            raise ValueError(f"{name} config must have keys of {kind.__name__}, not {shorten(key)}")
    settings = kind(**wanted, **fitted)
    if family.positions is not None and inputs.length > family.positions(settings):
        raise ValueError(f"{name} length must be at most {family.positions(settings)}, not {inputs.length}")
    return settings


def _loaded(name: str, build: Any, settings: Any, path: Path, told: Callable[[str], None] | None) -> nn.Module:
    """The model with weights from disk, by transformers' own reader, which knows the names of older versions."""
    options = {"config": settings, "ignore_mismatched_sizes": True, "output_loading_info": True}
    if path.is_dir():
        if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
            raise ValueError(
                f"{path}: weights must be a folder with model.safetensors or pytorch_model.bin; it has none"
            )
        options |= {"pretrained_model_name_or_path": str(path), "local_files_only": True}
    else:
        options |= {"pretrained_model_name_or_path": None, "state_dict": read_tensors(path, "weights")[0]}
    try:
        built, info = build.from_pretrained(**options)
    except Exception as error:  # readers of several formats, each with errors of its own
        raise ValueError(f"{path}: weights of {name} cannot be read: {shorten(str(error))}") from error
    base = f"{build.base_model_prefix}."
    sizes = {key: (list(theirs), list(own)) for key, theirs, own in info["mismatched_keys"]}
    for key in sorted(sizes):
        if key.startswith(base):
            theirs, own = sizes[key]
            raise ValueError(f"{path}: weights must be of {name}; {key} must be {own}, not {theirs}")
    missing = sorted(info["missing_keys"])
    lacking = [key for key in missing if key.startswith(base) and ".pooler." not in key]
    if lacking:
        raise ValueError(f"{path}: weights must be of {name}; they lack {shorten(lacking)}")
    beside = sorted(key for key in info["unexpected_keys"] if key.startswith(base) and ".pooler." not in key)
    if beside:
        raise ValueError(f"{path}: weights must be of {name}; they have {shorten(beside)} beside it")
    built.float()
    wild = [
        key for key, tensor in built.state_dict().items() if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if wild:
        raise ValueError(f"{path}: weights must be finite, but not {shorten(wild)}")
    drawn = sorted({*missing, *sizes})
    if drawn and told is not None:
        told(f"{path}: {name} takes all but {', '.join(drawn)}, which are drawn")
    return built


def _fitted(built: Any, inputs: Inputs, drawn: bool) -> None:
    """What no config says: how batch normalization starts and forgets, and the stem of small images."""
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _MOMENTUM
            if drawn:
                module.reset_parameters()
    if small(inputs) and not hasattr(built.config, "patch_size"):
        stem = next(module for module in built.modules() if isinstance(module, nn.Conv2d))
        stem.stride = (1, 1)
        if hasattr(built, "resnet"):
            built.resnet.embedder.pooler = nn.Identity()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the reports and progress that transformers writes to stderr."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
