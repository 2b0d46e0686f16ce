"""What the nodes of a cloud are: their features, order, distances, symmetries and classes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gconvae import json_text
from gconvae.plain import did_you_mean, plain
from gconvae.schema.feature import Feature, Picture, Tail, is_number

__all__ = ["CHANGES", "EXTENT", "CloudSchema", "OrderKeys", "default_order_keys"]

EXTENT = 27.0
"""Length of each feature's scaled range, in units of the loss, where a schema says no other: that
of the slides' superpixels, so that a KL factor means the same for all clouds."""

CHANGES = ("turn", "stretch", "mirror")
"""Random changes of a cloud's positions."""

OrderKeys = tuple[tuple[int, bool], ...]
"""Columns and whether each descends, the most significant first."""


@dataclass(frozen=True)
class CloudSchema:
    """What the nodes of a cloud are, and what may be done with them.

    It travels with a data set, in its file, in a model and in a report.

    Attributes:
        features: In the order of a tensor's columns, positions first.
        order: Canonical node order: names, the most significant first, ``"-name"`` = the largest
            first; empty = by the first further feature, the largest first. What is not named
            follows: positions, the last one first, then further features. So all nodes that
            differ have one order.
        extent: Length of each feature's scaled range, in units of the loss.
        distance: Factor of each feature in distances between clouds; None = 1 / its spread in
            the real clouds, positions of one unit sharing theirs, heavy tails in their log.
        distance_unit: Unit of such a distance.
        weight: Feature that weighs the nodes and adds up over them, such as the pT of particles or
            a mass; empty = none does.
        changes: Random changes that keep a cloud's kind: ``"turn"``, ``"stretch"``, ``"mirror"``.
        symmetries: Those after which clouds are as likely as before.
        picture: How clouds are drawn.
        classes: Names of the labels 0 to K - 1; empty = they have none.
        name: Of the schema; empty = made from numbers.
        conditions: Numbers of a whole cloud that a model may be conditioned on, such as a jet's
            mass; empty = clouds have none.
    Raises:
        ValueError: If names repeat, positions do not come first, or an entry is out of range.
    Example:
        >>> from gconvae.schema import points
        >>> schema = points("x y z", "charge", unit="mm")
        >>> schema.names, schema.num_positions, schema.order_keys[0]
        (('x', 'y', 'z', 'charge'), 3, (3, True))
    """

    features: tuple[Feature, ...]
    order: tuple[str, ...] = ()
    extent: float = EXTENT
    distance: tuple[float, ...] | None = None
    distance_unit: str = ""
    weight: str = ""
    changes: tuple[str, ...] = ()
    symmetries: tuple[str, ...] = ()
    picture: Picture = Picture()
    classes: tuple[str, ...] = ()
    name: str = ""
    conditions: tuple[Feature, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what contradicts itself; lists become tuples."""
        lists = ("features", "order", "changes", "symmetries", "classes", "distance", "conditions")
        for entry in lists:
            value = plain(getattr(self, entry))
            if isinstance(value, str) or not isinstance(value, Sequence | None):
                raise ValueError(f"{entry} must be a list, got {value!r}")
            if value is not None:
                object.__setattr__(self, entry, tuple(plain(item) for item in value))
        texts = (
            self.name,
            self.distance_unit,
            self.weight,
            *self.order,
            *self.changes,
            *self.symmetries,
            *self.classes,
        )
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"name, unit, weight, order, changes and classes must be texts, got {texts}"
            )
        names = [feature.name for feature in self.features]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"features must have names of their own, at least one, got {names}")
        is_position = [feature.position for feature in self.features]
        if not is_position[0] or is_position != sorted(is_position, reverse=True):
            raise ValueError(f"features must begin with the positions, at least one, got {names}")
        strangers = {
            key for key in self.order if key not in names and key.removeprefix("-") not in names
        }
        if strangers:
            raise ValueError(
                f"order must be out of {', '.join(names)}, got {', '.join(self.order)}"
            )
        if self.weight and self.weight not in names[sum(is_position) :]:
            raise ValueError(
                f"weight must be a feature beside the positions, out of {', '.join(names)}, "
                f"got {self.weight}"
            )
        if not is_number(self.extent) or self.extent <= 0:
            raise ValueError(f"extent must be finite and above 0, got {self.extent!r}")
        if self.distance is not None and not (
            len(self.distance) == len(names)
            and all(is_number(factor) and factor > 0 for factor in self.distance)
        ):
            raise ValueError(
                f"distance must be {len(names)} factors above 0, got {list(self.distance)}"
            )
        for entry in ("changes", "symmetries"):
            entries = getattr(self, entry)
            if set(entries) - set(CHANGES):
                raise ValueError(
                    f"{entry} must be out of {', '.join(CHANGES)}, got {list(entries)}"
                )
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must have names of their own, got {list(self.classes)}")
        conditions = [condition.name for condition in self.conditions]
        if len(set(conditions)) < len(conditions):
            raise ValueError(f"conditions must have names of their own, got {conditions}")

    @property
    def num_features(self) -> int:
        """F, the number of features."""
        return len(self.features)

    @property
    def num_positions(self) -> int:
        """D, the number of positions."""
        return sum(feature.position for feature in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return tuple(feature.name for feature in self.features)

    @property
    def units(self) -> tuple[str, ...]:
        """Of the features; empty for pure numbers."""
        return tuple(feature.unit for feature in self.features)

    @property
    def order_keys(self) -> OrderKeys:
        """Every column in the canonical order, and whether it descends."""
        if not self.order:
            return default_order_keys(self.num_features, self.num_positions)
        names, keys = self.names, dict[int, bool]()
        for key in self.order:
            column = names.index(key if key in names else key.removeprefix("-"))
            keys.setdefault(column, key not in names)
        return _completed(keys, self.num_features, self.num_positions)

    def index(self, name: str) -> int:
        """Column of a feature.

        Raises:
            ValueError: If there is no such feature.
        """
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            raise ValueError(f"feature must be one of {', '.join(self.names)}, got {name!r}{hint}")
        return self.names.index(name)

    def replace(self, **changes: Any) -> CloudSchema:
        """A copy with other entries."""
        return dataclasses.replace(self, **changes)

    def with_classes(self, classes: Sequence[str]) -> CloudSchema:
        """A copy whose labels have these names."""
        return self.replace(classes=tuple(classes))

    def with_conditions(self, count: int) -> CloudSchema:
        """A copy for clouds that have so many conditions, of which the schema may know nothing.

        Args:
            count: C. 0 leaves none; those that have no name are called by their number.
        Raises:
            ValueError: If the schema names another number of them.
        Example:
            >>> from gconvae.schema import points
            >>> [condition.name for condition in points("x y").with_conditions(2).conditions]
            ['condition 1', 'condition 2']
        """
        if count == len(self.conditions):
            return self
        if count and self.conditions:
            known = ", ".join(condition.label for condition in self.conditions)
            raise ValueError(
                f"conditions must have {len(self.conditions)} columns ({known}), got {count}"
            )
        return self.replace(
            conditions=tuple(Feature(f"condition {n}") for n in range(1, count + 1))
        )

    def difference(self, other: CloudSchema) -> str:
        """What the nodes of two schemas first differ in, in one line; empty if in nothing.

        Names, units and which features are positions are compared: what has to agree for two
        samples to be of one kind.

        Example:
            >>> from gconvae.schema import SUPERPIXELS, points
            >>> SUPERPIXELS.difference(points("x y", "charge"))
            'feature 1 is x (px) in one and x in the other'
        """
        if self.num_features != other.num_features:
            return f"one has {self.num_features} features, the other {other.num_features}"
        for number, (a, b) in enumerate(zip(self.features, other.features, strict=True), 1):
            if a.label != b.label:
                return f"feature {number} is {a.label} in one and {b.label} in the other"
            if a.position != b.position:
                return f"{a.name} is a position in one and none in the other"
        return ""

    def same_nodes(self, other: CloudSchema) -> bool:
        """Whether nodes of both can be compared, see :meth:`difference`."""
        return not self.difference(other)

    def class_name(self, index: int) -> str:
        """Name of a class; its number where it has none."""
        return self.classes[index] if 0 <= index < len(self.classes) else str(index)

    def class_index(self, label: Any) -> int:
        """Index of a class that is called by its name or, if no class is named so, its index.

        Raises:
            ValueError: If there is no such class.
        Example:
            >>> from gconvae.schema import JETS
        >>> schema = JETS.with_classes(["gluon", "top"])
            >>> schema.class_index("top"), schema.class_index(0)
            (1, 0)
        """
        if str(label) in self.classes:
            return self.classes.index(str(label))
        try:
            index = int(label)
        except (TypeError, ValueError):
            index = -1
        named = any(name.lstrip("-").isdigit() for name in self.classes)
        if index < 0 or index != _as_float(label) or named or 0 < len(self.classes) <= index:
            known = ", ".join(self.classes) or "0, 1, ..."
            raise ValueError(f"label must be one of {known}, got {label!r}")
        return index

    def class_indices(self, labels: Any) -> Any:
        """Indices of one class or of many, as far as classes have names; others as they are.

        Raises:
            ValueError: If there is no such class.
        Example:
            >>> from gconvae.schema import JETS
            >>> JETS.with_classes(["gluon", "top"]).class_indices(["top", "gluon"])
            [1, 0]
        """
        if labels is None or not self.classes:
            return labels
        labels = plain(labels)
        if isinstance(labels, str) or not hasattr(labels, "__len__"):
            return self.class_index(labels)
        return [self.class_index(plain(label)) for label in labels]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists, ready for JSON."""
        content: dict[str, Any] = json.loads(self.to_json())
        return content

    def to_json(self) -> str:
        """One line of JSON; :meth:`from_json` reads it back, floats to the last bit."""
        content = dataclasses.asdict(self)
        if not self.conditions:  # so that earlier versions read it too
            del content["conditions"]
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_dict(cls, content: Any) -> CloudSchema:
        """Reads what :meth:`to_dict` wrote.

        Raises:
            ValueError: If it is no schema; the message names the entry.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("features"), Sequence):
            raise ValueError(f"schema must hold features, got {content!r:.100}")
        try:
            entries = dict(content)
            for kind in {"features", "conditions"} & content.keys():
                entries[kind] = tuple(_feature(entry) for entry in content[kind])
            entries["picture"] = _picture(content.get("picture", {}))
            return cls(**entries)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"schema must have the entries of a CloudSchema: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> CloudSchema:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is no schema.
        """
        try:
            content = json_text.parsed(text)
        except (TypeError, ValueError) as error:
            raise ValueError(f"schema must be JSON: {error}") from None
        return cls.from_dict(content)


def default_order_keys(num_features: int, num_positions: int) -> OrderKeys:
    """The order of a schema that says none, see :class:`CloudSchema`.

    Example:
        >>> default_order_keys(4, 2)
        ((2, True), (1, False), (0, False), (3, False))
    """
    first = {num_positions: True} if num_features > num_positions else {}
    return _completed(first, num_features, num_positions)


def _completed(keys: dict[int, bool], num_features: int, num_positions: int) -> OrderKeys:
    """Keys, then the columns that are missing: positions, the last one first, then the others."""
    rest = (*reversed(range(num_positions)), *range(num_positions, num_features))
    return tuple((keys | {column: False for column in rest if column not in keys}).items())


def _feature(entry: Any) -> Feature:
    entry = dict(entry)
    if entry.get("tail") is not None:
        entry["tail"] = Tail(**entry["tail"])
    return Feature(**entry)


def _picture(entry: Any) -> Picture:
    entry = dict(entry)
    if entry.get("frame") is not None:
        across, down = entry["frame"]
        entry["frame"] = (tuple(across), tuple(down))
    return Picture(**entry)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
