from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from oracles import segment_means_loop
from skimage.segmentation import slic

import gconvae
from gconvae.clouds import sort_nodes
from gconvae.superpixels import from_images

DATA = Path(gconvae.__file__).parent / "data"
SCRIPT = Path(__file__).parents[1] / "scripts" / "make_superpixels.py"


def stroke_images(number: int, height: int = 28, width: int = 28) -> np.ndarray:
    """Rings with a soft edge, uint8, shape (number, height, width); their place varies."""
    y, x = np.mgrid[:height, :width]
    images = []
    for i in range(number):
        centre_x, centre_y = 0.45 * width + (0.37 * i) % 3, 0.5 * height - (0.21 * i) % 2
        radius = np.hypot((x - centre_x) / width, (y - centre_y) / height)
        ring = np.clip(1.6 - np.abs(radius - 0.26 - 0.01 * (i % 5)) * 16, 0, 1)
        images.append((255 * ring * (1 - 0.3 * x / width)).astype(np.uint8))
    return np.stack(images)


def test_nodes_are_the_means_of_segments_cut_inside_the_stroke() -> None:
    images = stroke_images(4)
    points, _ = from_images(images)
    for image, nodes in zip(images / np.float32(255), points, strict=True):
        # 27 = ceil(1.08 * 25) segments are asked for, and are enough for these images
        segments = slic(
            image, n_segments=27, compactness=0.35, mask=image > 1 / 16, channel_axis=None
        )
        expected = torch.tensor(segment_means_loop(image, segments)[:25])
        torch.testing.assert_close(nodes, expected)


def test_isolated_squares_become_their_centres_and_intensities() -> None:
    image = np.zeros((40, 60), dtype=np.uint8)
    expected = []
    for i, (row, column) in enumerate((r, c) for r in (3, 18, 32) for c in (4, 25, 48)):
        image[row : row + 3, column : column + 3] = 250 - 20 * i
        expected.append([column + 1, row + 1, (250 - 20 * i) / 255])
    points, mask = from_images(image[None], num_points=9, oversegmentation=1)
    torch.testing.assert_close(points, torch.tensor([expected]))
    assert mask.all()


def test_stroke_of_few_pixels_gives_one_node_a_pixel_and_masks_the_rest() -> None:
    images = np.zeros((2, 9, 7), dtype=np.uint8)
    images[0, 4, 2], images[0, 4, 5], images[0, 1, 6], images[0, 8, 0] = 102, 102, 102, 255
    images[1, 3, 3] = 51
    points, mask = from_images(images, num_points=5)
    nodes = [[0, 8, 1.0], [6, 1, 0.4], [2, 4, 0.4], [5, 4, 0.4]]
    torch.testing.assert_close(points[0, :4], torch.tensor(nodes))
    torch.testing.assert_close(points[1, :1], torch.tensor([[3, 3, 0.2]]))
    assert mask.sum(1).tolist() == [4, 1]
    assert points.shape == (2, 5, 3)
    assert (points[~mask] == 0).all()


@pytest.mark.parametrize("length", [25, 26, 27, 28, 40])
def test_every_stroke_of_25_pixels_gives_25_nodes(length: int) -> None:
    image = np.zeros((3, 45))
    image[1, :length] = np.linspace(0.2, 1, length)
    assert from_images(image[None])[1].all()


def test_segments_are_raised_where_the_first_cut_gives_too_few() -> None:
    image = stroke_images(1)[0]
    grey = image / np.float32(255)
    segments = slic(grey, 20, compactness=0.35, mask=grey > 1 / 16, channel_axis=None)
    assert len(np.unique(segments)) - 1 < 20  # without the background, fewer than asked for
    assert from_images(image[None], num_points=20, oversegmentation=1)[1].all()


@pytest.mark.parametrize("size", [(12, 28), (40, 30), (64, 64), (150, 90)])
def test_image_of_any_size_gives_nodes_around_its_stroke(size: tuple[int, int]) -> None:
    height, width = size
    image = stroke_images(1, height, width)[0]
    points, mask = from_images(image[None])
    y, x = np.nonzero(image > 16)
    spread = np.array([x.std(), y.std()])
    position = points[0, :, :2].numpy()
    assert mask.all()
    np.testing.assert_allclose(position.mean(0), [x.mean(), y.mean()], atol=0.3 * spread.min())
    np.testing.assert_allclose(position.std(0), spread, rtol=0.2)


def test_nodes_hold_no_background() -> None:
    points, _ = from_images(stroke_images(8))
    assert points[..., 2].min() > 1 / 16
    assert points[..., 2].max() <= 1


def test_nodes_are_in_the_one_order() -> None:
    points, mask = from_images(stroke_images(8))
    torch.testing.assert_close(sort_nodes(points, mask)[0], points, rtol=0, atol=0)


def test_cloud_is_the_brightest_part_of_a_larger_cloud_of_the_same_cut() -> None:
    images = stroke_images(4)
    few, _ = from_images(images, num_points=10, oversegmentation=3)
    many, _ = from_images(images, num_points=20, oversegmentation=1.5)
    torch.testing.assert_close(few, many[:, :10], rtol=0, atol=0)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, "numpy float64", "numpy float32", torch.uint8]
)
def test_every_dtype_gives_the_clouds_of_uint8(dtype: torch.dtype | str) -> None:
    images = stroke_images(6)
    other: np.ndarray | torch.Tensor
    if isinstance(dtype, str):
        other = (images / 255).astype(dtype.split()[1])
    elif dtype == torch.uint8:
        other = torch.from_numpy(images)
    else:
        other = torch.from_numpy(images).to(dtype) / 255
    points, mask = from_images(other)
    assert points.dtype == torch.float32
    assert torch.equal(points, from_images(images)[0])
    assert torch.equal(mask, from_images(images)[1])


def test_cloud_depends_on_no_other_image_and_no_random_state() -> None:
    images = stroke_images(5)
    together, _ = from_images(images)
    np.random.seed(3)  # noqa: NPY002 - the global state is what must not matter
    torch.manual_seed(3)
    alone = torch.cat([from_images(image[None])[0] for image in images])
    assert torch.equal(together, alone)


def test_random_states_are_left_alone() -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    from_images(stroke_images(2))
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_workers_give_the_same_clouds_in_the_same_order() -> None:
    images = stroke_images(300)
    images[150, 5:, :] = 0
    images[150, 0, :3] = 200
    serial, parallel = from_images(images), from_images(images, num_workers=2)
    assert torch.equal(serial[0], parallel[0])
    assert torch.equal(serial[1], parallel[1])


def test_progress_is_drawn_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    from_images(stroke_images(1))
    assert capsys.readouterr().err == ""
    from_images(stroke_images(1), progress=True)
    assert "superpixels" in capsys.readouterr().err


def bad_image(value: float) -> np.ndarray:
    images = stroke_images(3) / 255
    images[1, 4, 4] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (bad_image(np.nan), r"finite and in \[0, 1\].*got values from nan to nan in image 1"),
        (bad_image(np.inf), r"finite and in \[0, 1\].*to inf in image 1 \(1 such images\)"),
        (bad_image(-0.5), r"in \[0, 1\] if they are floats, got values from -0.5"),
        (
            stroke_images(3).astype(float),
            r"in \[0, 1\] if they are floats, got values from 0.0 to",
        ),
        (stroke_images(3).astype(np.int64), r"uint8, or floats in \[0, 1\], got dtype int64"),
        (stroke_images(3) > 0, "uint8, or floats.*got dtype bool"),
        (stroke_images(1)[0], r"shape \(images, height, width\), got \(28, 28\)"),
        (stroke_images(1)[..., None], r"shape \(images, height, width\), got \(1, 28, 28, 1\)"),
        (np.zeros((0, 28, 28)), r"at least one image and one pixel, got shape \(0, 28, 28\)"),
        ([[[0.5, 0.5], [0.5]]], "array or a tensor of numbers, got list"),
        (None, "got dtype object"),
    ],
)
def test_bad_images_are_refused(images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_images(images)


def test_image_without_stroke_is_refused_by_its_number() -> None:
    images = stroke_images(5)
    images[2], images[4] = 0, 15
    with pytest.raises(ValueError, match=r"threshold 0.0625, image 2 has none \(2 such images\)"):
        from_images(images)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_points": 0}, "num_points must be an integer of at least 1, got 0"),
        ({"num_points": 2.5}, "num_points must be an integer of at least 1, got 2.5"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"threshold": float("nan")}, r"threshold must be in \[0, 1\), got nan"),
        ({"oversegmentation": 0.9}, "oversegmentation must be finite and at least 1, got 0.9"),
        ({"compactness": 0.0}, "compactness must be finite and above 0, got 0.0"),
        ({"num_workers": -1}, "num_workers must be an integer of at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_images(stroke_images(1), **setting)


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((DATA / "superpixels.json").read_text())


@pytest.fixture(scope="module")
def bundled() -> dict[str, np.ndarray]:
    with np.load(DATA / "superpixels.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_bundled_file_has_the_checksum_of_its_card(card: dict) -> None:
    content = (DATA / "superpixels.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]


def test_bundled_file_has_at_most_7_megabytes() -> None:
    assert (DATA / "superpixels.npz").stat().st_size <= 7_000_000


def test_bundled_file_holds_what_its_card_says(card: dict, bundled: dict) -> None:
    found = {name: (str(array.dtype), array.shape) for name, array in bundled.items()}
    clouds = (70_000, 25)
    assert found == {
        "x": ("uint16", clouds),
        "y": ("uint16", clouds),
        "intensity": ("uint8", clouds),
        "count": ("uint8", (70_000,)),
        "label": ("uint8", (70_000,)),
    }
    assert set(card["arrays"]) == set(found)


def test_bundled_licence_is_named_beside_the_data(card: dict) -> None:
    assert card["licence"] == "CC BY-SA 3.0"
    assert card["licence_url"] in (DATA / "LICENSE").read_text()


def test_bundled_clouds_were_cut_with_the_default_settings(card: dict) -> None:
    defaults = dict(from_images.__kwdefaults__)
    settings = dict(card["settings"])
    assert settings.pop("num_points") == 25
    assert settings == {name: defaults[name] for name in settings}
    assert set(settings) == {"threshold", "oversegmentation", "compactness"}


def test_bundled_digits_are_counted_as_in_mnist(card: dict, bundled: dict) -> None:
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(bundled["label"][:60_000]).tolist() == train == card["counts"]["train"]
    assert np.bincount(bundled["label"][60_000:]).tolist() == test == card["counts"]["test"]


def test_bundled_intensity_is_0_exactly_where_there_is_no_node(bundled: dict) -> None:
    real = np.arange(25) < bundled["count"][:, None]
    np.testing.assert_array_equal(bundled["intensity"] > 0, real)
    assert not bundled["x"][~real].any()
    assert not bundled["y"][~real].any()


def test_bundled_nodes_are_in_the_one_order(bundled: dict) -> None:
    intensity, y, x = (bundled[name].astype(np.int64) for name in ("intensity", "y", "x"))
    rank = (255 - intensity) * 1_000_000 + y * 1000 + x  # positions are below 448
    real = np.arange(25) < bundled["count"][:, None]
    rank[~real] = np.iinfo(np.int64).max
    assert (np.diff(rank, axis=1) >= 0).all()


def test_bundled_positions_lie_in_the_image(bundled: dict) -> None:
    assert max(bundled["x"].max(), bundled["y"].max()) <= 27 * 16


def test_bundled_eights_have_25_nodes(bundled: dict) -> None:
    assert (bundled["count"][bundled["label"] == 8] == 25).all()


@pytest.mark.parametrize("rows", [slice(60_000), slice(60_000, None)], ids=["train", "test"])
@pytest.mark.parametrize(
    ("quantity", "real", "allowed"),
    [
        ("mean y", 13.2, 1.2),
        ("mean x", 13.3, 1.2),
        ("std y", 5.7, 0.57),
        ("std x", 3.9, 0.39),
        ("mean intensity", 0.658, 0.0658),
        ("mean brightest", 0.93, 0.093),
        ("std intensity", 0.175, 0.25 * 0.175),
        ("mean 25th", 0.28, 0.25 * 0.28),
    ],
)
def test_bundled_eights_look_like_the_published_superpixels(
    bundled: dict, rows: slice, quantity: str, real: float, allowed: float
) -> None:
    eights = bundled["label"][rows] == 8
    x, y = bundled["x"][rows][eights] / 16, bundled["y"][rows][eights] / 16
    intensity = bundled["intensity"][rows][eights] / 255
    found = {
        "mean y": y.mean(),
        "mean x": x.mean(),
        "std y": y.std(),
        "std x": x.std(),
        "mean intensity": intensity.mean(),
        "mean brightest": intensity.max(1).mean(),
        "std intensity": intensity.std(),
        "mean 25th": intensity.min(1).mean(),
    }
    assert abs(found[quantity] - real) <= allowed


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_superpixels", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_orders_nodes_by_their_rounded_values(script: ModuleType) -> None:
    points = torch.tensor([[[1.0, 9.0, 100.3], [2.0, 3.0, 99.8], [0.0, 0.0, 0.0]]])
    points[..., 2] /= 255  # both round to 100, so that y decides
    arrays = script.quantized(points, torch.tensor([[True, True, False]]))
    assert arrays["intensity"].tolist() == [[100, 100, 0]]
    assert arrays["x"].tolist() == [[32, 16, 0]]
    assert arrays["y"].tolist() == [[48, 144, 0]]
    assert arrays["count"].tolist() == [2]


def test_script_writes_the_same_bytes_at_any_time(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"x": np.arange(50, dtype=np.uint16)}
    first = script.npz_bytes(arrays)
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 9, 9, 1, 46, 40, 6, 252, 0))
    assert script.npz_bytes(arrays) == first


def test_script_refuses_a_file_that_is_no_idx(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(b"\x1f\x8b\x08\x00rest")
    with pytest.raises(ValueError, match="must be an uncompressed idx file"):
        script.read_idx(tmp_path / "images")


def test_script_reads_idx_files(script: ModuleType, tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
    (tmp_path / "file").write_bytes(header + bytes(range(6)))
    assert script.read_idx(tmp_path / "file").tolist() == [[0, 1, 2], [3, 4, 5]]
