"""The floors of docs/design.md as a picture, made from the imports.

Run: python scripts/draw_floors.py [--figures docs/figures]

Rooms are the files and folders of gconvae/. Their floors are those of the table in docs/design.md,
their arrows are read from the sources: who imports whom. Beside the picture lies what it shows,
floors.json, which a test compares with the imports of today.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gconvae

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PACKAGE = Path(gconvae.__file__).parent

DOCS = Path(__file__).parents[1] / "docs"

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

# reading imports


def room_of(path: Path) -> str:
    """``nn/conv.py`` lies in room ``nn``, ``vae.py`` in room ``vae``."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def package_of(path: Path) -> str:
    """``gconvae.nn`` for ``nn/conv.py``."""
    return ".".join(["gconvae", *path.relative_to(PACKAGE).parent.parts])


def is_room(module: str) -> bool:
    """Whether a full name is that of a room inside a wing."""
    names = module.split(".")
    place = PACKAGE.joinpath(*names[1:])
    return len(names) > 2 and (place.is_dir() or place.with_suffix(".py").exists())


def imported_modules(tree: ast.Module, package: str) -> Iterator[str]:
    """Full names of all modules that a source imports, inside functions and type checks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            full = [f"{base}.{alias.name}" for alias in node.names]
            if not all(is_room(name) for name in full):  # a wing is then only the way to its rooms
                yield base
            yield from full
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def arrows(source: str, package: str = "gconvae") -> set[str]:
    """Places of gconvae that a source imports: ``clouds``, or ``losses/chamfer`` of a wing."""
    places = set()
    for module in imported_modules(ast.parse(source), package):
        names = module.split(".")
        if names[0] != "gconvae" or len(names) < 2 or names[1].startswith("__"):
            continue
        # a name that is no room is a name of the package, whose home is a room
        names = gconvae._HOMES.get(names[1], names[1]).split(".") + names[2:]
        deep = is_room(".".join(["gconvae", *names[:2]]))
        places.add("/".join(names[:2]) if deep else names[0])
    return places


# the graph


def table() -> dict[str, tuple[int, str]]:
    """Floor and responsibility of each room, from docs/design.md."""
    rows = re.findall(
        r"^\| (\d) \| `(\w+)` \| (.*?) \|", (DOCS / "design.md").read_text(), re.MULTILINE
    )
    return {room: (int(floor), text) for floor, room, text in rows}


def imports() -> dict[str, set[str]]:
    """Rooms that the files of each room import."""
    found: dict[str, set[str]] = {room_of(path): set() for path in FILES}
    for path in FILES:
        places = arrows(path.read_text(), package_of(path))
        found[room_of(path)] |= {place.split("/")[0] for place in places} - {room_of(path)}
    return found


def needed(graph: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """The graph without the arrows that longer ways stand for; it must have no circle."""

    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(other) for other in graph[room]))

    return {
        room: sorted(others - set().union(*(reached(other) for other in others)))
        for room, others in sorted(graph.items())
    }


def floors() -> dict[str, dict[str, object]]:
    """What the picture shows: each room's floor, whether it is a wing, and its arrows."""
    listed = table()
    ground = {room for room, (floor, _) in listed.items() if floor == 0}
    above = {room: others - ground for room, others in imports().items()}
    return {
        room: {
            "floor": listed[room][0],
            "wing": (PACKAGE / room).is_dir(),
            "stands on": others,
        }
        for room, others in needed(above).items()
    }


# the picture

COLUMNS = {
    "cli": 3.0,
    "studies": 3.0,
    "export": 1.5,
    "training": 3.0,
    "models": 1.0,
    "vae": 1.0,
    "autoencoder": 0.0,
    "sampling": 1.0,
    "evidence": 2.0,
    "plots": 6.0,
    "priors": 2.0,
    "nn": 3.0,
    "likelihoods": 4.0,
    "losses": 5.0,
    "metrics": 6.0,
    "pieces": 0.0,
    "conditioning": 0.88,
    "scaling": 1.76,
    "superpixels": 2.7,
    "datasets": 3.6,
    "neighbors": 4.6,
    "clouds": 2.7,
}
"""Where a room stands on its floor, so that no arrow runs through a box. The ground floor is
filled from left to right; elsewhere a room without a place gets the first free one from the
right."""

MODEL = ("autoencoder", "sampling", "evidence")
"""What the model is put together from: rooms in one frame, from which their arrows start."""

STEP = 0.85
"""Between the two rows of a floor: the ground floor, and the one with the rooms of the model."""

WIDTH, HEIGHT = 0.86, 0.66
"""Of a box, where floors and columns are 1 apart."""

FILL = {True: "#dce9f5", False: "#ffffff"}
"""Of a wing, and of a single file."""

INK, FAINT = "#23374d", "#f4f4f1"


def heights(rooms: Mapping[str, Mapping[str, object]]) -> list[float]:
    """Middle of the upper row of each floor; the ground floor and the model's have two rows."""
    two = {0} | {int(str(rooms[room]["floor"])) for room in MODEL if room in rooms}
    top = max(int(str(facts["floor"])) for facts in rooms.values())
    found: list[float] = []
    for floor in range(top + 1):
        found.append((found[-1] + 1.0 if found else 0.0) + STEP * (floor in two and floor > 0))
    return found


def places(rooms: Mapping[str, Mapping[str, object]]) -> dict[str, tuple[float, float]]:
    """Centre of each box."""
    level = heights(rooms)
    listed = [room for room in table() if room in rooms]
    ground = [room for room in listed if rooms[room]["floor"] == 0]
    half = (len(ground) + 1) // 2
    found = {}
    for number, room in enumerate(ground):
        column = 6.0 * (number % half) / max(half - 1, 1)
        found[room] = (column, level[0] - STEP * (number >= half))
    columns = dict(COLUMNS)
    for room in listed:
        floor = int(str(rooms[room]["floor"]))
        if room not in columns and room not in found:
            taken = [columns[o] for o in listed if o in columns and rooms[o]["floor"] == floor]
            free = (x / 2 for x in range(12, -1, -1) if all(abs(x / 2 - o) >= 0.9 for o in taken))
            columns[room] = next(free, 6.0)
        found.setdefault(room, (columns.get(room, 6.0), level[floor] - STEP * (room in MODEL)))
    return found


def draw(rooms: Mapping[str, Mapping[str, object]]) -> Figure:
    """Floors as rows, rooms as boxes, an arrow to each room that one stands on."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.8, 10.6), layout="constrained")
    axes = figure.add_subplot()
    centres, level = places(rooms), heights(rooms)
    bottom = -0.5 - STEP
    for floor, (high, low) in enumerate(zip(level, [bottom + 0.5, *level], strict=False)):
        low = bottom if floor == 0 else low + 0.5
        if floor % 2 == 0:
            axes.axhspan(low, high + 0.5, color=FAINT, zorder=0, linewidth=0)
        middle = (low + high + 0.5) / 2
        axes.text(-0.74, middle, str(floor), size=13, color="#888888", va="center", ha="center")
    _arrows(axes, rooms, centres)
    for room, facts in rooms.items():
        _box(axes, room, centres[room], WIDTH, bool(facts["wing"]))
    axes.text(
        6.45,
        level[-1],
        "a box: a room, shaded if it is a wing (a folder)\n"
        "an arrow: imports; those that longer ways stand for are left out\n"
        "all rooms may import the ground floor",
        size=7.5,
        color=INK,
        ha="right",
        va="center",
        linespacing=1.5,
    )
    axes.set(xlim=(-0.9, 6.55), ylim=(bottom, level[-1] + 0.5))
    axes.axis("off")
    return figure


def _arrows(
    axes: Axes,
    rooms: Mapping[str, Mapping[str, object]],
    centres: Mapping[str, tuple[float, float]],
) -> None:
    """All arrows; those of the model's rooms start and end at the frame around them."""
    from matplotlib.patches import Rectangle

    inside = [room for room in MODEL if room in rooms]
    left, right = (end(centres[room][0] for room in inside) for end in (min, max))
    y, margin = centres[inside[0]][1], 0.06
    corner = (left - WIDTH / 2 - margin, y - HEIGHT / 2 - margin)
    size = (right - left + WIDTH + 2 * margin, HEIGHT + 2 * margin)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linestyle=":", zorder=1))
    below: set[str] = set()
    for room, facts in rooms.items():
        others = set(list(facts["stands on"]))  # type: ignore[call-overload]  # a list in the JSON
        if room in inside:
            below |= others - set(inside)
        elif others & set(inside):
            x = centres[room][0]
            _line(axes, (x, centres[room][1] - HEIGHT / 2), (x, y + HEIGHT / 2 + margin))
        for other in sorted(others - set(inside)) if room not in inside else ():
            _arrow(axes, centres[room], centres[other])
    for other in sorted(below):
        x, to_y = centres[other][0] - 0.29, centres[other][1] + HEIGHT / 2
        _line(axes, (min(max(x, left - 0.3), right + 0.3), y - HEIGHT / 2 - margin), (x, to_y))


def _box(axes: Axes, room: str, centre: tuple[float, float], width: float, is_wing: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = centre
    corner = (x - width / 2, y - HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch(
            corner, width, HEIGHT, boxstyle=style, facecolor=FILL[is_wing], edgecolor=INK, zorder=2
        )
    )
    name = f"{room}/" if is_wing else room
    axes.text(
        x, y + 0.21, name, size=8, weight="bold", color=INK, ha="center", va="center", zorder=3
    )
    short = re.split(r"[:;]", table()[room][1])[0].replace("`", "")
    lines = textwrap.fill(short, int(22 * width))
    axes.text(
        x, y + 0.10, lines, size=6.8, color=INK, ha="center", va="top", zorder=3, linespacing=1.25
    )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Down from the lower edge to the upper one, or sideways to a room of the same floor."""
    (x, y), (to_x, to_y) = start, end
    if y == to_y:
        side = WIDTH / 2 if to_x > x else -WIDTH / 2
        ends = (x + side, y), (to_x - side, to_y)
    else:
        lean = max(-0.3, min(0.3, 0.35 * (to_x - x)))
        ends = (x + lean, y - HEIGHT / 2), (to_x - lean, to_y + HEIGHT / 2)
    _line(axes, *ends)


def _line(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 1}
    axes.annotate("", xytext=start, xy=end, arrowprops=arrow, zorder=1)


def write(figures: Path) -> None:
    """Writes floors.json and floors.png."""
    rooms = floors()
    (figures / "floors.json").write_text(json.dumps(rooms, indent=1) + "\n")
    figure = draw(rooms)
    figure.savefig(figures / "floors.png", dpi=180, metadata={"Software": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, default=DOCS / "figures")
    write(parser.parse_args().figures)
