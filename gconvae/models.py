"""The catalogue of models: any encoder, decoder, prior and likelihood, and ready-made pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from gconvae import ready_made, registry
from gconvae.caller_state import neutral
from gconvae.conditioning import Conditioning, checked_names, chosen_conditions
from gconvae.likelihoods.base import Likelihood
from gconvae.nn import conv, dense, graph, refinement, sets  # noqa: F401 - they register parts
from gconvae.plain import did_you_mean, plain
from gconvae.priors.base import Prior
from gconvae.randomness import initial_weights
from gconvae.registry import check_counts
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema, usual
from gconvae.vae import VAE

# the catalogue lists parts in the order in which they are registered, simple ones first
# isort: off
from gconvae.likelihoods import mean, gaussian, autoregressive, flow_matching  # noqa: F401 - they register
from gconvae.priors import mixture, flows  # noqa: F401 - likewise
# isort: on

__all__ = ["available", "compose", "create", "describe"]

KINDS: tuple[registry.Kind, ...] = ("encoder", "decoder", "prior", "likelihood")
"""Parts of a model, in the order in which they are made."""

NETWORKS: tuple[registry.Kind, ...] = ("encoder", "decoder")
"""Parts that share options such as ``hidden``."""


def available(kind: registry.Kind | None = None) -> list[str]:
    """Names that :func:`create` knows.

    Args:
        kind: ``"encoder"``, ``"decoder"``, ``"prior"`` or ``"likelihood"``; None = the ready-made
            models. Losses are in :func:`gconvae.losses.available`.
    Raises:
        ValueError: If the kind is unknown.
    Example:
        >>> available()[:3]
        ['convae', 'convae-flow', 'convae-flow-matching']
        >>> available("decoder")
        ['conv', 'dense', 'graph', 'set_transformer']
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or None, got {kind!r}")
    return ready_made.available() if kind is None else registry.available(kind)


@neutral()
def create(
    name: str = "convae",
    *,
    seed: int = 0,
    encoder: str | nn.Module | None = None,
    decoder: str | nn.Module | None = None,
    prior: str | Prior | None = None,
    likelihood: str | Likelihood | None = None,
    num_points: int = 25,
    num_features: int | None = None,
    latent_dim: int = 10,
    num_classes: int = 0,
    ragged: bool = False,
    schema: CloudSchema | None = None,
    conditions: Sequence[str] | None = None,
    **options: Any,
) -> VAE:
    """An untrained model: one of the catalogue, or with other parts in its place.

    Parts are written ``name`` or ``name(option=value)``, see :mod:`gconvae.registry`. ``convae``,
    the slides' network, takes ``channels`` (16, 32, 64), ``hidden`` (1500), ``padding`` (1) and
    ``kernel`` (5). ``convae-flow`` is the same network with a neural spline flow as its prior and
    clouds drawn node by node around its mean
    (:class:`~gconvae.likelihoods.AutoregressiveLikelihood`): the best model of this library.
    ``convae-flow-matching`` draws all nodes at once
    (:class:`~gconvae.likelihoods.FlowMatchingLikelihood`).

    Args:
        name: One of :func:`available`: encoder, decoder, prior and likelihood.
        seed: Of the initial weights; the same seed gives the same weights.
        encoder: Another encoder than the model's own: a name, or a module from scaled points
            (B, N, F) and mask (B, N) to q(z|x), an ``Independent(Normal)`` or (mean, log_var).
        decoder: Another decoder, a name or a module; see :class:`gconvae.VAE`.
        prior: Where latents are drawn from; mostly N(0, 1) by default.
        likelihood: What is drawn around the decoder's mean; mostly the mean itself by default.
        num_points: N, the most nodes of a cloud.
        num_features: F; None = those of the schema, else 3.
        latent_dim: L.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = clouds have none.
        ragged: Whether decoder and prior are conditioned on the number of nodes of a cloud.
        schema: What the features are, also of bare arrays that it is trained on; a data set says
            its own. None = :func:`gconvae.schema.usual` until a training.
        conditions: Names of the conditions of a cloud, such as a jet's mass, that decoder, prior
            and likelihood are told, out of ``schema.conditions`` of the clouds; None = none.
        options: Given to encoder and decoder, as far as they take an option of that name; None =
            their own default.
    Raises:
        ValueError: If the name, a part or an option is unknown, or a value is out of range.
    Example:
        >>> model = create("convae", latent_dim=4, seed=0)
        >>> sum(p.numel() for p in model.parameters())
        3696465
        >>> mixed = create("convae", decoder="dense(hidden=[64])", prior="gmm", num_classes=10)
        >>> mixed.sample(2, label=3).shape
        torch.Size([2, 25, 3])
    """
    ready = ready_made.get(name)
    num_points, num_features, latent_dim = map(plain, (num_points, num_features, latent_dim))
    num_classes, ragged = plain(num_classes), plain(ragged)
    given_schema = schema
    if schema is None:
        check_counts(num_features=3 if num_features is None else num_features)
        schema = usual(3 if num_features is None else num_features)
    elif num_features not in (None, schema.num_features):
        raise ValueError(
            f"num_features must be that of the schema, {schema.num_features}, got {num_features}"
        )
    names = checked_names(conditions) if conditions else ()
    if given_schema is not None:
        schema = schema.replace(conditions=chosen_conditions(schema, names, "schema"))
    wanted = {"encoder": encoder, "decoder": decoder, "prior": prior, "likelihood": likelihood}
    for kind, part in wanted.items():
        if isinstance(part, type):
            raise ValueError(
                f"{kind} must be a name or a module, got the class {part.__name__}; "
                f"hand over {part.__name__}()"
            )
    modules: dict[registry.Kind, nn.Module] = {
        kind: part for kind in KINDS if isinstance(part := wanted[kind], nn.Module)
    }
    chosen: dict[registry.Kind, str] = {
        kind: getattr(ready, kind) if wanted[kind] is None else str(wanted[kind])
        for kind in KINDS
        if kind not in modules
    }
    shape: dict[str, Any] = {
        "num_points": num_points,
        "num_features": schema.num_features,
        "num_positions": schema.num_positions,
        "extent": schema.extent,
        "latent_dim": latent_dim,
        "num_classes": num_classes,
        "ragged": ragged,
        "weighted": bool(schema.weight),
    }
    if names:
        shape["num_conditions"] = len(names)
    options = {option: plain(value) for option, value in options.items() if value is not None}
    _check_options(name, chosen, options)
    context = Conditioning(num_points, num_classes, ragged, names).dim
    with initial_weights(seed):
        created = {
            kind: _create(kind, text, shape, options, context) for kind, text in chosen.items()
        }
    seed = int(plain(seed))
    model = _assemble(created | modules, schema, num_classes, ragged, seed, names)
    model.given_schema = given_schema
    return model


def describe(model: VAE) -> dict[str, Any]:
    """What :func:`compose` makes the same untrained model of, ready for JSON.

    Raises:
        ValueError: If a part is not registered; the message says what to write.
    """
    described: dict[str, Any] = {}
    for kind in KINDS:
        part = getattr(model, kind)
        term = registry.describe(kind, part)
        if term is None:
            called = type(part).__name__
            raise ValueError(
                f"{kind} must be registered to be saved, got a {called}; write "
                f'@gconvae.registry.register("{kind}", "my_{kind}") above class {called}, '
                "or train with out=None"
            )
        described[kind] = {"name": term.name, "options": term.options}
    conditioning = model.conditioning
    if conditioning.names:
        described["conditions"] = list(conditioning.names)
    return described | {
        "num_classes": conditioning.num_classes,
        "ragged": conditioning.ragged,
        "schema": model.schema.to_dict(),
    }


@neutral()
def compose(description: Mapping[str, Any], *, seed: int | None = None) -> VAE:
    """The untrained model of a description, with the feature ranges of its schema.

    Args:
        description: As :func:`describe` gives it.
        seed: Of the initial weights; None = others take their place anyway.
    Raises:
        ValueError: If a part is not registered, or an entry is missing.
    """
    wanted: dict[str, type] = dict.fromkeys(KINDS, dict)
    wanted |= {"num_classes": int, "ragged": bool, "schema": dict}
    for key, kind in wanted.items():
        if not isinstance(description.get(key), kind):
            raise ValueError(
                f"a model must hold {key} of type {kind.__name__}, got {description.get(key)!r}"
            )
    with initial_weights(seed or 0):
        parts = {
            kind: registry.create(kind, description[kind]["name"], **description[kind]["options"])
            for kind in KINDS
        }
    schema = CloudSchema.from_dict(description["schema"])
    names = description.get("conditions") or ()
    names = checked_names(names) if names else ()
    return _assemble(parts, schema, description["num_classes"], description["ragged"], seed, names)


def _assemble(
    parts: Mapping[registry.Kind, nn.Module],
    schema: CloudSchema,
    num_classes: int,
    ragged: bool,
    initial_seed: int | None,
    conditions: Sequence[str],
) -> VAE:
    prior, likelihood = parts["prior"], parts["likelihood"]
    for kind, part, base in (
        ("prior", prior, Prior),
        ("likelihood", likelihood, Likelihood),
    ):
        if not isinstance(part, base):
            raise ValueError(
                f"{kind} must be a gconvae {base.__name__}, got {type(part).__name__}"
            )
    assert isinstance(prior, Prior)
    assert isinstance(likelihood, Likelihood)
    likelihood.set_schema(schema)
    return VAE(
        parts["encoder"],
        parts["decoder"],
        prior,
        FeatureScaling.of(schema),
        likelihood,
        num_classes,
        ragged,
        initial_seed,
        schema,
        conditions,
    )


def _create(
    kind: registry.Kind,
    text: str,
    shape: Mapping[str, Any],
    options: Mapping[str, Any],
    context: int,
) -> nn.Module:
    """A part with those of the options that it takes."""
    own = sorted(registry.parse(text)[0].options.keys() & shape.keys())
    if own:
        raise ValueError(f"{', '.join(own)} must be the same for all parts, got {kind} {text}")
    wanted = {**shape, **options} if kind in NETWORKS else shape
    taken = registry.accepted(kind, text)
    accepted = {name: value for name, value in wanted.items() if name in taken}
    if kind == "decoder" and "latent_dim" in accepted:
        accepted["latent_dim"] += context  # a decoder gets the context with z
    return registry.create(kind, text, **accepted)


def _check_options(
    name: str, chosen: Mapping[registry.Kind, str], options: Mapping[str, Any]
) -> None:
    taken: dict[str, None] = {}
    for kind in NETWORKS:
        if kind not in chosen:
            continue
        taken |= dict.fromkeys(sorted(registry.accepted(kind, chosen[kind])))
    unknown = sorted(set(options) - taken.keys())
    if unknown:
        hint = did_you_mean(unknown[0], taken)
        raise ValueError(
            f"options of {name} are {', '.join(taken)}, got {', '.join(unknown)}{hint}"
        )
