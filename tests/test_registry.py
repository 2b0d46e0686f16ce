from __future__ import annotations

import copy
import inspect
import json
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gconvae import models, registry
from gconvae.registry import Term

KINDS = ("encoder", "decoder", "prior", "likelihood", "loss")


@pytest.fixture(autouse=True)
def _own_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    assert models.available()  # the catalogue has registered its parts
    monkeypatch.setattr(
        registry, "_PARTS", {kind: dict(known) for kind, known in _known().items()}
    )


def _known() -> dict[str, dict[str, type[nn.Module]]]:
    return registry._PARTS


def example(name: str = "example", kind: Any = "encoder") -> type[nn.Module]:
    """A part with options of all kinds, registered."""

    @registry.register(kind, name)
    class Example(nn.Module):
        """What it does."""

        def __init__(self, width: int = 3, names: Any = ("a", "b"), deep: Any = None) -> None:
            super().__init__()
            self.width, self.names, self.deep = width, names, deep

    return Example


# register


def test_a_registered_part_is_made_by_its_name() -> None:
    kind = example()
    made = registry.create("encoder", "example(width=5)", names=["c"])
    assert type(made) is kind
    assert (made.width, made.names, made.deep) == (5, ["c"], None)


def test_register_gives_the_class_back_as_it_was() -> None:
    kind = example()
    assert kind.__name__ == "Example"
    assert kind.__doc__ == "What it does."
    assert list(inspect.signature(kind).parameters) == ["width", "names", "deep"]
    assert kind(7).width == 7


def test_a_new_name_comes_last() -> None:
    before = registry.available("encoder")
    example()
    assert registry.available("encoder") == [*before, "example"]


def test_the_list_of_names_is_a_copy() -> None:
    registry.available("encoder").clear()
    assert "conv" in registry.available("encoder")


def test_kinds_do_not_share_names() -> None:
    first, second = example(kind="encoder"), example(kind="decoder")
    assert type(registry.create("encoder", "example")) is first
    assert type(registry.create("decoder", "example")) is second
    assert "example" not in registry.available("loss")


def test_one_class_may_be_of_two_kinds() -> None:
    kind = registry.register("decoder", "other")(example())
    assert registry.describe("encoder", kind(2)) == registry.Term(
        1.0, "example", {"width": 2, "names": ["a", "b"], "deep": None}
    )
    term = registry.describe("decoder", kind(2))
    assert term is not None
    assert term.name == "other"


def test_a_class_that_is_defined_anew_takes_the_place_of_the_old_one() -> None:
    old = example()
    new = example()  # the same module and qualified name
    assert old is not new
    assert type(registry.create("encoder", "example")) is new
    assert registry.describe("encoder", old()) is None
    assert registry.available("encoder").count("example") == 1


def test_a_name_that_another_class_has_is_refused_and_stays_with_it() -> None:
    kind = example()

    class Other(nn.Module):
        pass

    with pytest.raises(ValueError, match=r"free among the encoders, 'example' is .*Example"):
        registry.register("encoder", "example")(Other)
    assert type(registry.create("encoder", "example")) is kind


def test_a_name_of_the_library_is_refused() -> None:
    class Mine(nn.Module):
        pass

    with pytest.raises(ValueError, match=r"'conv' is gconvae\.nn\.conv\.ConvEncoder"):
        registry.register("encoder", "conv")(Mine)


def test_the_same_class_name_of_another_module_is_refused() -> None:
    first = example()
    twin = types.new_class("Example", (nn.Module,))
    twin.__module__, twin.__qualname__ = "elsewhere", first.__qualname__
    with pytest.raises(ValueError, match="free among the encoders"):
        registry.register("encoder", "example")(twin)


@pytest.mark.parametrize("name", ["", "two words", "3d", "a-b", "a.b", "f()", "é!", "x\n"])
def test_a_name_that_could_not_be_written_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must be a Python identifier, got "):
        registry.register("encoder", name)


@pytest.mark.parametrize("name", ["None", "True", "lambda", "class", "not"])
def test_a_name_that_python_reserves_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must be a Python identifier, got "):
        registry.register("encoder", name)


@pytest.mark.parametrize(
    "use",
    [
        lambda kind: registry.register(kind, "example"),
        lambda kind: registry.available(kind),
        lambda kind: registry.accepted(kind, "conv"),
        lambda kind: registry.create(kind, "conv"),
        lambda kind: registry.describe(kind, nn.Linear(1, 1)),
    ],
)
def test_an_unknown_kind_is_one_clear_error_that_lists_the_known(use: Any) -> None:
    with pytest.raises(ValueError, match=r"kind must be one of encoder, .*logger, got 'encodre'"):
        use("encodre")


# options are remembered


def test_options_are_remembered_with_their_defaults() -> None:
    made = example()(deep={"a": (1, 2), "b": {"c": None}})
    assert registry.describe("encoder", made) == Term(
        1.0, "example", {"width": 3, "names": ["a", "b"], "deep": {"a": [1, 2], "b": {"c": None}}}
    )


def test_positional_and_named_options_are_remembered_alike() -> None:
    kind = example()
    wanted = {"width": 4, "names": ["x"], "deep": True}
    for made in (kind(4, ["x"], True), kind(4, deep=True, names=("x",))):
        assert registry.describe("encoder", made) == Term(1.0, "example", wanted)


def test_remembered_options_do_not_change_with_the_callers_list() -> None:
    names = ["a"]
    made = example()(names=names)
    names.append("b")
    term = registry.describe("encoder", made)
    assert term is not None
    assert term.options["names"] == ["a"]


def test_a_class_among_the_options_is_remembered_by_its_name() -> None:
    term = registry.describe("encoder", example()(deep=nn.ReLU))
    assert term is not None
    assert term.options["deep"] == "ReLU"


def test_what_describe_says_can_be_changed_without_harm() -> None:
    made = example()()
    term = registry.describe("encoder", made)
    assert term is not None
    term.options["width"] = 99
    again = registry.describe("encoder", made)
    assert again is not None
    assert again.options["width"] == 3


def test_a_part_is_made_again_from_its_description_through_json() -> None:
    kind = example()
    first = kind(8, names=("x", "y"), deep={"k": [1, 2.5, False]})
    term = registry.describe("encoder", first)
    assert term is not None
    options = json.loads(json.dumps(term.options))
    again = registry.create("encoder", term.name, **options)
    assert registry.describe("encoder", again) == term


def test_a_copy_of_a_part_keeps_its_options() -> None:
    made = example()(width=9)
    assert registry.describe("encoder", copy.deepcopy(made)) == registry.describe("encoder", made)


def test_a_subclass_of_a_registered_class_is_not_itself_registered() -> None:
    class Changed(example()):  # type: ignore[misc]
        def __init__(self, factor: int = 2) -> None:
            super().__init__(width=3 * factor)

    made = Changed()
    assert made.width == 6
    assert registry.describe("encoder", made) is None


def test_a_registered_subclass_remembers_its_own_options() -> None:
    base = example()

    @registry.register("encoder", "changed")
    class Changed(base):  # type: ignore[misc, valid-type]
        def __init__(self, factor: int = 2) -> None:
            super().__init__(width=3 * factor)

    assert registry.describe("encoder", Changed(4)) == Term(1.0, "changed", {"factor": 4})
    term = registry.describe("encoder", base(5))
    assert term is not None
    assert (term.name, term.options["width"]) == ("example", 5)


def test_a_registered_subclass_without_a_constructor_takes_the_one_of_its_base() -> None:
    @registry.register("encoder", "same")
    class Same(example()):  # type: ignore[misc]
        pass

    term = registry.describe("encoder", registry.create("encoder", "same(width=5)"))
    assert term is not None
    assert (term.name, term.options["width"]) == ("same", 5)


def test_an_unregistered_class_is_described_as_none() -> None:
    assert registry.describe("encoder", nn.Linear(2, 2)) is None


def test_a_part_of_another_kind_is_described_as_none() -> None:
    assert registry.describe("decoder", example()()) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_library_is_made_again_from_its_description(kind: Any) -> None:
    for name in registry.available(kind):
        made = registry.create(kind, name)
        term = registry.describe(kind, made)
        assert term is not None
        assert (term.weight, term.name) == (1.0, name)
        options = json.loads(json.dumps(term.options))
        assert set(options) == registry.accepted(kind, name)
        again = registry.create(kind, name, **options)
        assert registry.describe(kind, again) == term
        shapes = [value.shape for value in made.state_dict().values()]
        assert [value.shape for value in again.state_dict().values()] == shapes


# the little language


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("conv", [Term(1.0, "conv", {})]),
        ("conv()", [Term(1.0, "conv", {})]),
        ("conv(kernel=3)", [Term(1.0, "conv", {"kernel": 3})]),
        ("f(a=-1, b=2.5e-3)", [Term(1.0, "f", {"a": -1, "b": 0.0025})]),
        ("f(a='x + y', b=\"(\")", [Term(1.0, "f", {"a": "x + y", "b": "("})]),
        ("f(a=[1, [2]], b={'k': None})", [Term(1.0, "f", {"a": [1, [2]], "b": {"k": None}})]),
        ("f(a=True, b=False)", [Term(1.0, "f", {"a": True, "b": False})]),
        ("f(\n  a=1,\n)", [Term(1.0, "f", {"a": 1})]),
        ("0.5 * f", [Term(0.5, "f", {})]),
        ("2*f(a=1)", [Term(2.0, "f", {"a": 1})]),
        ("f + g", [Term(1.0, "f", {}), Term(1.0, "g", {})]),
        ("f+0.5*g(a=1)+3*f", [Term(1, "f", {}), Term(0.5, "g", {"a": 1}), Term(3, "f", {})]),
        ("f + (g + h)", [Term(1, "f", {}), Term(1, "g", {}), Term(1, "h", {})]),
    ],
)
def test_what_is_written_is_read(text: str, terms: list[Term]) -> None:
    assert registry.parse(text) == terms


def a_value(chance: random.Random, depth: int = 2) -> Any:
    makers = [
        lambda: chance.randint(-1000, 1000),
        lambda: chance.choice([0.5, -2.25e-7, 1e30]),
        lambda: "".join(chance.choices("ab()+*,=' \"\\\n#é", k=chance.randint(0, 8))),
        lambda: chance.choice([True, False, None]),
    ]
    if depth:
        entries = [a_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]
        makers += [lambda: entries, lambda: {f"k{i}": entry for i, entry in enumerate(entries)}]
    return chance.choice(makers)()


def some_terms(seed: int) -> list[Term]:
    chance = random.Random(seed)
    names = [f"{letter}{chance.randint(0, 9)}" for letter in "abc_"]
    return [
        Term(
            chance.choice([1.0, 0.5, 3.0, 1e-3]),
            chance.choice(names),
            {name: a_value(chance) for name in chance.sample(names, chance.randint(0, 3))},
        )
        for _ in range(chance.randint(1, 4))
    ]


@pytest.mark.parametrize("seed", range(50))
def test_whatever_is_written_out_is_read_back(seed: int) -> None:
    terms = some_terms(seed)
    written = " + ".join(
        f"{weight!r} * {name}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
        for weight, name, options in terms
    )
    assert registry.parse(written) == terms


FORM = r"a part must have the form name, name\(option=value\) or name \+ 0\.5 \* name, got "


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "f(",
        "f)",
        "f g",
        "f(1)",
        "f(a)",
        "f(*[1])",
        "f(**{'a': 1})",
        "f(a=b)",
        "f(a=1 + 1)",
        "f(a=1)(b=2)",
        "f - g",
        "f * 2",
        "2 * 3 * f",
        "2",
        "'f'",
        "f.g",
        "f[0]",
        "f, g",
        "f; g",
        "f\ng",
        "f = 1",
        "x * f",
        "None * f",
        "-f",
        "not f",
        "f if g else h",
        "[f]",
        "(f for f in g)",
        "f\0",
        "f(a=1, a=2)",
        "'2' * f",
        "True * f",
        "(" * 500 + "f" + ")" * 500,
        "f(a=" + "-" * 100_000 + "1)",
        "+".join(["f"] * 20_000),
    ],
    ids=lambda text: text[:20] or "nothing",
)
def test_any_other_form_is_one_clear_error(text: str) -> None:
    with pytest.raises(ValueError, match=FORM):
        registry.parse(text)


@pytest.mark.parametrize("value", [None, 3, ["conv"], {"name": "conv"}])
def test_no_text_is_one_clear_error(value: Any) -> None:
    with pytest.raises(ValueError, match=FORM):
        registry.parse(value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir({path!r})",
        "conv(kernel=__import__('os').mkdir({path!r}))",
        "conv(kernel=open({path!r}, 'w'))",
        "conv(kernel=[open({path!r}, 'w') for _ in [0]])",
        "conv(kernel=(lambda: open({path!r}, 'w'))())",
        "conv(kernel=().__class__.__bases__[0].__subclasses__())",
        'exec(source="import os; os.mkdir({path!r})")',
        "open(file={path!r}, mode='w')",
        "open({path!r}, 'w') * conv",
        "conv(kernel=f\"{{open({path!r}, 'w')}}\")",
        "conv(kernel=(x := 3))",
    ],
)
def test_malicious_text_is_never_run(tmp_path: Path, text: str) -> None:
    trap = tmp_path / "made by a text"
    with pytest.raises(ValueError, match="a part must have the form|encoder must be one of"):
        registry.create("encoder", text.format(path=str(trap)))
    assert not trap.exists()


# create and accepted


def test_accepted_are_the_options_that_the_text_leaves_open() -> None:
    example()
    assert registry.accepted("encoder", "example") == {"width", "names", "deep"}
    assert registry.accepted("encoder", "example(width=3)") == {"names", "deep"}
    assert registry.accepted("encoder", "example(width=3, names=[], deep=1)") == set()


@pytest.mark.parametrize("use", [registry.create, registry.accepted])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exmaple", r"encoder must be one of conv, .*example, got 'exmaple'"),
        ("example + conv", r"encoder must be one part, not a sum, got 'example \+ conv'"),
        ("0.5 * example", r"encoder must be one part, not a sum, got '0.5 \* example'"),
        ("example(", FORM),
    ],
)
def test_what_is_not_one_known_part_is_one_clear_error(use: Any, text: str, message: str) -> None:
    example()
    with pytest.raises(ValueError, match=message):
        use("encoder", text)


@pytest.mark.parametrize("text", ["example(wdith=3)", "example"])
def test_an_unknown_option_is_one_clear_error_that_lists_the_known(text: str) -> None:
    example()
    options = {} if "wdith" in text else {"wdith": 3}
    message = "options of encoder example are width, names, deep, got wdith"
    with pytest.raises(ValueError, match=message):
        registry.create("encoder", text, **options)


def test_options_of_a_part_that_takes_none_are_one_clear_error() -> None:
    @registry.register("loss", "plain")
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()

    assert isinstance(registry.create("loss", "plain"), Plain)
    with pytest.raises(ValueError, match="options of loss plain are none, got width"):
        registry.create("loss", "plain(width=3)")


def test_a_part_without_a_constructor_takes_no_options() -> None:
    @registry.register("loss", "bare")
    class Bare(nn.Module):
        pass

    made = registry.create("loss", "bare")
    assert registry.describe("loss", made) == Term(1.0, "bare", {})
    with pytest.raises(ValueError, match="options of loss bare are none, got width"):
        registry.create("loss", "bare", width=3)


def test_an_option_that_is_given_twice_is_one_clear_error() -> None:
    example()
    with pytest.raises(ValueError, match="encoder must get each option once, got width twice"):
        registry.create("encoder", "example(width=3)", width=3)


def test_a_part_with_parameters_is_made_with_the_given_shapes() -> None:
    made = registry.create("encoder", "conv(channels=[2, 3], hidden=5)", latent_dim=7)
    assert made(torch.zeros(1, 25, 3)).mean.shape == (1, 7)


# code of one's own

CODE = """
from __future__ import annotations

import dataclasses

from torch import nn

from gconvae import registry


@dataclasses.dataclass
class Sizes:
    width: int = 3


@registry.register("encoder", "from_a_file")
class FromAFile(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.sizes = Sizes(width)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file of one's own, whose module is forgotten after the test."""
    made = tmp_path / "my_parts.py"
    made.write_text(CODE)
    yield made
    sys.modules.pop("my_parts", None)


def test_a_file_of_ones_own_registers_its_parts(file: Path) -> None:
    registry.import_parts(str(file))
    made = registry.create("encoder", "from_a_file(width=5)")
    assert made.sizes.width == 5
    assert registry.describe("encoder", made) == Term(1.0, "from_a_file", {"width": 5})


def test_a_file_may_be_read_again_after_a_change(file: Path) -> None:
    registry.import_parts(str(file))
    file.write_text(CODE.replace("Sizes(width)", "Sizes(2 * width)  # twice"))
    registry.import_parts(str(file))
    assert registry.create("encoder", "from_a_file(width=5)").sizes.width == 10


@pytest.mark.parametrize("name", ["json", "torch"])
def test_a_file_does_not_take_the_place_of_a_module(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(CODE)
    before = sys.modules[name]
    with pytest.raises(ValueError, match=f"a file with a name of its own, {name} is a module"):
        registry.import_parts(str(tmp_path / f"{name}.py"))
    assert sys.modules[name] is before
    assert "from_a_file" not in registry.available("encoder")


def test_a_module_of_the_current_folder_registers_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    registry.import_parts("module_of_parts")
    monkeypatch.delitem(sys.modules, "module_of_parts")
    assert sys.path == path
    assert "from_a_file" in registry.available("encoder")


def test_code_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    path = list(sys.path)
    with pytest.raises(FileNotFoundError, match="parts must be a Python file, there is none at"):
        registry.import_parts(str(tmp_path / "none.py"))
    with pytest.raises(ValueError, match="parts must name a Python file or module, got 'no_such'"):
        registry.import_parts("no_such")
    assert sys.path == path
