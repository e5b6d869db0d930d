"""Evaluation: each measure against its formula written out, pairs that are balanced, and what the command leaves."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from adain_model import VGG19, Network, save_network
from adain_runtime.errors import InputError, QualityError
from adain_train import evaluate as evaluation
from adain_train.data import check_folder
from adain_train.evaluate import choose_pairs, eval_command, evaluate, read_squares, ssim, to_pixels, vgg_distance
from adain_train.losses import Perceptual
from networks import SPECS, make_network


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(2)
    return [torch.rand(1, 3, 24, 24, generator=generator) for _ in range(5)]


@pytest.fixture
def perceptual(teacher):
    return Perceptual(teacher.encoder)


@pytest.fixture
def student() -> Network:
    return make_network(SPECS["strided"], seed=8)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """VGG-19 with random weights: the reference must have its shape."""
    path = tmp_path_factory.mktemp("vgg") / "vgg19.safetensors"
    save_network(make_network(VGG19), path, half=True)
    return path


def wide(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def written_out_ssim(a: np.ndarray, b: np.ndarray) -> float:
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for y, x in product(range(a.shape[0] - 10), range(a.shape[1] - 10)):
        p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        cov = (window * (p - mp) * (q - mq)).sum()
        values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_is_wangs_formula_over_every_window():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 1, 17, 20, generator=generator)
    b = (a + 0.3 * torch.rand(2, 1, 17, 20, generator=generator)).clamp(0, 1)
    expected = [written_out_ssim(wide(a[i, 0]), wide(b[i, 0])) for i in range(2)]
    np.testing.assert_allclose(ssim(a, b).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(ssim(a.double(), b.double()).numpy(), expected, rtol=1e-6)  # the inputs are float32


def test_ssim_of_an_image_with_itself_is_one_and_with_its_negative_below_zero():
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert ssim(image, image).item() == pytest.approx(1, abs=1e-12)
    assert ssim(image, 1 - image).item() < 0


@pytest.mark.parametrize(
    "shapes", [((1, 1, 10, 20), (1, 1, 10, 20)), ((1, 3, 20, 20),) * 2, ((1, 1, 20, 20), (20, 20))]
)
def test_ssim_refuses_what_has_no_window(shapes):
    with pytest.raises(InputError, match="SSIM compares"):
        ssim(*(torch.zeros(shape) for shape in shapes))


def test_vgg_distance_is_the_mean_over_taps_of_the_squared_distance_of_unit_vectors():
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.rand(1, c, 6, 5, generator=generator) for c in (4, 7)] for _ in range(2))
    expected = []
    for f, w in zip(map(wide, a), map(wide, b), strict=True):
        unit_f, unit_w = (x / np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (f, w))
        expected.append(((unit_f - unit_w) ** 2).sum(axis=1).mean())
    assert vgg_distance(a, b).item() == pytest.approx(np.mean(expected), rel=1e-5)
    assert vgg_distance(a, [3 * tap for tap in a]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("contents", "styles"), [(3, 4), (4, 2), (5, 5), (1, 1), (20, 23)])
def test_all_pairs_are_each_pair_once(contents, styles):
    pairs = choose_pairs(contents, styles, None, seed=0)
    assert sorted(pairs) == sorted(product(range(contents), range(styles)))


def test_a_subset_of_pairs_uses_contents_and_styles_evenly_and_is_the_seeds_own():
    pairs = choose_pairs(5, 7, 10, seed=1)
    assert len(pairs) == 10
    assert all(sum(pair[0] == content for pair in pairs) == 2 for content in range(5))
    assert len({style for _, style in pairs[:5]}) == 5
    assert pairs == choose_pairs(5, 7, None, seed=1)[:10]
    assert pairs != choose_pairs(5, 7, 10, seed=2)


@pytest.mark.parametrize("count", [0, 7])
def test_a_subset_larger_than_all_pairs_or_empty_is_refused(count):
    with pytest.raises(InputError, match="give 1 to 6"):
        choose_pairs(2, 3, count, seed=0)


def test_a_models_row_is_the_papers_losses_of_its_outputs_written_out(images, perceptual, student):
    contents, styles, pairs = images[:2], images[2:4], [(0, 1), (1, 0)]
    found = evaluate({"student": student}, perceptual, contents, styles, pairs, examples=0)
    content_losses, style_losses, kept = [], [], []
    for c, s in pairs:
        output = student(contents[c], styles[s]).clamp(0, 1)
        taps, wanted = perceptual.taps(output), perceptual.taps(styles[s])
        features = perceptual.taps(contents[c])[-1]
        x, y = wide(features), wide(wanted[-1])
        std_x, std_y = (np.sqrt(v.var(axis=(2, 3), ddof=1, keepdims=True) + 1e-5) for v in (x, y))
        target = (x - x.mean((2, 3), keepdims=True)) / std_x * std_y + y.mean((2, 3), keepdims=True)
        content_losses.append(np.mean((wide(taps[-1]) - target) ** 2))
        kept.append(np.mean((wide(taps[-1]) - x) ** 2))
        style_losses.append(
            sum(
                np.mean((f.mean((2, 3)) - w.mean((2, 3))) ** 2)
                + np.mean(
                    (np.sqrt(f.var(axis=(2, 3), ddof=1) + 1e-5) - np.sqrt(w.var(axis=(2, 3), ddof=1) + 1e-5)) ** 2
                )
                for f, w in zip(map(wide, taps), map(wide, wanted), strict=True)
            )
        )
    row = found.rows[1]
    assert (row.name, row.pairs) == ("student", 2)
    assert row.mean.content == pytest.approx(np.mean(content_losses), rel=1e-4)
    assert row.mean.style == pytest.approx(np.mean(style_losses), rel=1e-4)
    assert row.mean.to_content == pytest.approx(np.mean(kept), rel=1e-4)
    assert row.error.style == pytest.approx(np.std(style_losses, ddof=1) / np.sqrt(2), rel=1e-3)
    assert row.parameters == sum(parameter.numel() for parameter in student.parameters())
    assert row.macs_per_pixel > 0
    assert row.milliseconds > 0


def test_no_style_is_the_content_itself(images, perceptual):
    row = evaluate({}, perceptual, images[:1], images[1:], [(0, 0), (0, 3)]).rows[0]
    assert row.name == "no style"
    assert (row.mean.to_content, row.mean.vgg_distance) == (0, 0)
    assert row.mean.ssim == pytest.approx(1)
    assert row.mean.style > 0
    assert row.milliseconds is None


def test_the_optimisation_is_measured_after_its_steps_on_the_example_pairs(images, perceptual, student):
    pairs = [(0, 0), (1, 1), (0, 1)]
    found = evaluate({"s": student}, perceptual, images[:2], images[2:4], pairs, examples=2, steps=(3, 20))
    assert found.example_pairs == ((0, 0), (1, 1))
    assert [row.name for row in found.rows] == ["no style", "s"]
    rows = {row.name: row for row in found.examples}
    assert list(rows) == ["no style", "s", "optimisation, 3 steps", "optimisation, 20 steps"]
    assert {row.pairs for row in found.examples} == {2}
    for step in (3, 20):
        row = rows[f"optimisation, {step} steps"]
        assert row.mean.content == pytest.approx(np.mean([run.content[step] for run in found.optimised]), rel=1e-5)
        assert row.mean.style == pytest.approx(np.mean([run.style[step] for run in found.optimised]), rel=1e-5)
    assert rows["optimisation, 20 steps"].mean.style < rows["no style"].mean.style
    start = [run.content[0] for run in found.optimised]
    assert rows["no style"].mean.content == pytest.approx(np.mean(start), rel=1e-5)


def test_the_sheets_pictures_are_the_examples_in_the_order_of_their_rows(images, perceptual, student):
    found = evaluate({"s": student}, perceptual, images[:2], images[2:4], [(1, 0)], examples=1, steps=(2,))
    content, style, stylised, optimised = found.sheet[0]
    np.testing.assert_array_equal(content, to_pixels(images[1]))
    np.testing.assert_array_equal(style, to_pixels(images[2]))
    np.testing.assert_allclose(stylised, to_pixels(student(images[1], images[2]).clamp(0, 1)), atol=1)
    np.testing.assert_array_equal(optimised, to_pixels(found.optimised[0].images[2]))


def test_an_output_that_is_not_finite_names_the_model(images, perceptual, student):
    with torch.no_grad():
        student.decoder.conv1_2.bias.fill_(float("nan"))
    with pytest.raises(QualityError, match="broken: its output"):
        evaluate({"broken": student}, perceptual, images[:1], images[1:2], [(0, 0)])


def test_a_size_that_a_model_does_not_take_is_refused(perceptual, student):
    image = torch.zeros(1, 3, 20, 20)
    with pytest.raises(InputError, match="s: the image is 20x20"):
        evaluate({"s": student}, perceptual, [image], [image], [(0, 0)])


def test_squares_are_the_middle_of_images_whose_shorter_side_is_the_size(tmp_path):
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, 30:60] = 200
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    Image.fromarray(np.full((18, 18, 3), 99, np.uint8)).save(tmp_path / "small.png")
    images, (small, square) = read_squares(tmp_path, 30)
    assert images.names == ("small.png", "wide.png")
    assert small.shape == (1, 3, 30, 30)
    np.testing.assert_array_equal(to_pixels(small), 99)
    np.testing.assert_array_equal(to_pixels(square), 200)


def run(pictures, vgg, output, *models: str, **options) -> None:
    options = {"size": 32, "pairs": 4, "examples": 2, "steps": "2", "reference": vgg} | options
    content, style = options.pop("content", pictures / "content"), pictures / "style"
    eval_command(list(models), content=content, style=style, output=output, **options)


@pytest.fixture
def student_file(tmp_path, student):
    save_network(student, tmp_path / "my student.safetensors")
    return str(tmp_path / "my student.safetensors")


def test_the_command_leaves_numbers_a_plot_and_a_sheet_and_prints_a_table(
    pictures, vgg, tmp_path, student_file, capsys
):
    run(pictures, vgg, tmp_path / "out", student_file)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["no style", "reference (vgg19)", "my student"]
    assert all(row["name"] in printed for row in found["examples"]["rows"])
    assert len(found["optimisation"]["content"]) == 3
    framing = evaluation.Framing(32, 32, 32)
    for kind in ("content", "style"):
        assert found["data"][kind]["sha256"] == check_folder(pictures / kind, framing).digest
    assert (found["data"]["pairs"], found["data"]["of"]) == (4, 25)
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        width, height = sheet.size
    assert width > 5 * 256
    assert height > 2 * 256
    with Image.open(tmp_path / "out" / "optimisation.png") as plot:
        assert plot.format == "PNG"


def test_json_is_one_object_on_stdout_and_no_optimisation_draws_no_plot(pictures, vgg, tmp_path, student_file, capsys):
    run(pictures, vgg, tmp_path / "out", student_file, as_json=True, steps="none", examples=1)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.json", "sheet.png"}


def test_the_command_refuses_what_it_cannot_measure(pictures, vgg, tmp_path, student_file, teacher_file):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="is no VGG-19 to relu4_1"):
        run(pictures, teacher_file, out)
    with pytest.raises(InputError, match="two models are called 'my student'"):
        run(pictures, vgg, out, student_file, student_file)
    for steps in ("fifty", "0", "5,,6", "-1"):
        with pytest.raises(InputError, match="expected numbers of steps"):
            run(pictures, vgg, out, steps=steps)
    with pytest.raises(InputError, match="there is cpu and cuda"):
        run(pictures, vgg, out, device="tpu")
    with pytest.raises(InputError, match="no such folder"):
        run(pictures, vgg, out, content=tmp_path / "nowhere")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="can't be made"):
        run(pictures, vgg, tmp_path / "file")
