"""The student's curriculum, its targets live and kept, and what a step asks of the network."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from adain_runtime.errors import InputError
from adain_train.data import Stream
from adain_train.losses import Perceptual, Weights, similarity_loss, total_variation
from adain_train.pairs import CONTENT, STYLE
from adain_train.student import Balance, Restyler, StudentTask, balance, check_start, image_distance
from adain_train.targets import KeptTargets, LiveTargets, Wanted, make_targets, targets_folder
from adain_train.task import Share
from networks import make_network

CPU = torch.device("cpu")
ALL = Wanted(image=True, features=True)


@pytest.fixture
def kept(tmp_path, student_config, teacher, data):
    folder = targets_folder(tmp_path, student_config, teacher, data)
    make_targets(folder, student_config, teacher, data, CPU)
    return KeptTargets(folder, student_config, teacher, data)


def unit(batch):
    return {name: tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor for name, tensor in batch.items()}


def test_the_curriculum_is_distillation_then_a_change_then_vgg(student_config):
    config = replace(
        student_config,
        steps=100,
        perceptual_from=0.5,
        perceptual_ramp=0.2,
        perceptual=0.04,
        distill=2.0,
        distill_end=0.0,
    )
    assert balance(config, 0) == balance(config, 49) == Balance(2.0, 0.0)
    assert balance(config, 54).distill == pytest.approx(1.0)
    assert balance(config, 54).perceptual == pytest.approx(0.02)
    assert balance(config, 59) == balance(config, 99) == Balance(0.0, 0.04)
    assert balance(config, 99).wanted == Wanted(image=False, features=True)


def test_identity_losses_alone_have_images_that_come_back(student_config, teacher, data):
    """The paper's in the place of ours: `--set restore=0 --set weights.identity_pixels=1`."""
    config = replace(
        student_config, restore=0.0, perceptual_from=0.0, kept_crops=0, kept_pairs=0, weights=Weights(identity_pixels=1)
    )
    task = StudentTask(config, teacher, data, LiveTargets(teacher, data, "mean_std"))
    losses = task.losses(task.model, unit(task.load(0, Share())), 0)
    assert "restore" not in losses
    assert losses["identity_pixels"] > 0
    with pytest.raises(InputError, match="restore_every must be 1 or more"):
        replace(config, restore_every=0)


def test_positions_go_on_where_the_step_before_ended(student_config, teacher, data):
    config = replace(
        student_config, steps=10, batch=4, perceptual_batch=2, perceptual_from=0.3, kept_crops=0, kept_pairs=0
    )
    task = StudentTask(config, teacher, data, LiveTargets(teacher, data, "mean_std"))
    spans = [task._positions(step) for step in range(6)]
    assert [len(span) for span in spans] == [4, 4, 4, 2, 2, 2]
    assert [place for span in spans for place in span] == list(range(18))


def test_kept_targets_are_the_live_ones_to_half_precision(kept, teacher, data, student_config):
    batch = kept.load(range(3), ALL)
    found = kept.complete(unit(batch), ALL)
    live = LiveTargets(teacher, data, "mean_std").complete(unit(batch), ALL)
    torch.testing.assert_close(found.features, live.features, rtol=5e-3, atol=5e-3)
    torch.testing.assert_close(found.image, live.image, rtol=0, atol=0.02)
    for ours, theirs in zip(found.style, live.style, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_kept_crops_are_those_of_the_stream(kept, data, student_config):
    batch = kept.load(range(20), Wanted(image=False, features=False))
    for name, images, key in (("content", data.contents, CONTENT), ("style", data.styles, STYLE)):
        crops = {crop.tobytes() for crop in Stream(images, student_config.seed, key).crops(range(7))}
        assert {crop.numpy().tobytes() for crop in batch[name]} <= crops


def test_without_the_teachers_images_pairs_are_ever_new(kept, student_config):
    free, fixed = (
        {
            (content.numpy().tobytes(), style.numpy().tobytes())
            for batch in [kept.load(range(49), Wanted(image=image, features=False))]
            for content, style in zip(batch["content"], batch["style"], strict=True)
        }
        for image in (False, True)
    )
    assert len(fixed) <= student_config.kept_pairs < len(free)


def test_kept_targets_of_another_training_lie_elsewhere(tmp_path, student_config, teacher, data):
    coloured = replace(student_config, framing=replace(student_config.framing, jitter=0.5))
    folders = {
        targets_folder(tmp_path, config, teacher, data)
        for config in (student_config, replace(student_config, seed=4), replace(student_config, kept_crops=8), coloured)
    }
    assert len(folders) == 4
    again = replace(student_config, spec=replace(student_config.spec, name="other"), lr=0.1)
    assert targets_folder(tmp_path, again, teacher, data) in folders


def test_targets_that_were_interrupted_leave_nothing(tmp_path, student_config, teacher, data):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_targets(tmp_path / "targets", student_config, teacher, data, CPU, advance=stop)
    assert list(tmp_path.iterdir()) == []


def test_damaged_kept_targets_are_named(tmp_path, kept, student_config, teacher, data):
    folder = targets_folder(tmp_path, student_config, teacher, data)
    assert json.loads((folder / "identity.json").read_text())["pairs"] == 9
    (folder / "style.npy").write_bytes((folder / "style.npy").read_bytes()[:-50])
    with pytest.raises(InputError, match="delete the folder"):
        KeptTargets(folder, student_config, teacher, data)
    (folder / "style.npy").write_bytes(b"")  # as a power cut leaves it
    with pytest.raises(InputError, match="delete the folder"):
        KeptTargets(folder, student_config, teacher, data)


def test_an_image_restyled_by_itself_is_decoded_as_it_is(student_config):
    model = Restyler(student_config.spec, seed=0)
    content, style = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
    styled, restored, features = model(content, style, 2)
    assert (styled.shape, restored.shape) == ((4, 3, 16, 16), (4, 3, 16, 16))
    torch.testing.assert_close(features, model.network.encoder(content))
    torch.testing.assert_close(styled, model.network(content, style))
    own = torch.cat([content[::2], style[::2]])
    torch.testing.assert_close(restored, model.network(own, own), atol=1e-5, rtol=1e-5)
    assert model(content, style, 0)[1].shape[0] == 0


def test_the_image_distance_is_its_formula():
    a, b = (np.random.default_rng(seed).random((2, 3, 16, 24)) for seed in (0, 1))
    off = a - b
    means = off.reshape(2, 3, 2, 8, 3, 8).mean(axis=(3, 5))
    written = np.abs(off).mean() + 2 * np.abs(means).mean()
    written += 0.5 * (np.abs(np.diff(off, axis=3)).mean() + np.abs(np.diff(off, axis=2)).mean())
    found = image_distance(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert found.item() == pytest.approx(written, rel=1e-5)


def test_each_stage_has_its_losses_and_the_total_weighs_them(student_config, teacher, data, kept):
    weights = Weights(content=2, style=3, tv=0.1, identity_pixels=0.5, identity_features=0.25)
    config = replace(
        student_config, steps=10, perceptual_from=0.5, perceptual_ramp=1.0, distill_features=3.0, weights=weights
    )
    task = StudentTask(config, teacher, data, kept)
    for step in (0, 6, 9):
        batch = unit(task.load(step, Share()))
        losses = {name: value.item() for name, value in task.losses(task.model, batch, step).items()}
        now = balance(config, step)
        parts = {"distill": now.distill, "features": 3.0, "restore": config.restore}
        parts |= {name: now.perceptual * weight for name, weight in weights.terms().items()}
        written = sum(parts[name] * value for name, value in losses.items() if name != "total")
        assert losses["total"] == pytest.approx(written, rel=1e-5)
        assert ("distill" in losses, "style" in losses) == (now.distill > 0, now.perceptual > 0)
        assert "features" in losses


@pytest.mark.parametrize("perceptual_from", [0.0, 1.0])
def test_the_features_are_held_against_the_teachers_live_and_kept(student_config, teacher, data, kept, perceptual_from):
    config = replace(student_config, distill=0.0, distill_features=2.0, perceptual_from=perceptual_from)
    found = []
    for targets in (kept, LiveTargets(teacher, data, "mean_std")):
        task = StudentTask(config, teacher, data, targets)
        batch = unit(kept.load(range(4), balance(config, 0).wanted))
        losses = task.losses(task.model, batch, 0)
        encode = task.model.network.encoder, teacher.encoder
        wanted = similarity_loss(*(encoder(batch["content"]) for encoder in encode))
        torch.testing.assert_close(losses["features"], wanted, rtol=1e-3, atol=0)
        found.append(losses)
    assert found[0].keys() == found[1].keys()
    assert ("content" in found[0]) is (perceptual_from == 0)


def test_features_of_other_cells_than_the_teachers_are_refused(student_config, teacher, data):
    spec = replace(student_config.spec, encoder=((4,), (6, 6), (8, 8)), decoder=((8, 6), (6, 4), (4, 3)))
    config = replace(student_config, spec=spec, distill_features=1.0, kept_crops=0, kept_pairs=0)
    with pytest.raises(InputError, match="a cell of small is 4 pixels, one of the teacher 8"):
        StudentTask(config, teacher, data, LiveTargets(teacher, data, "mean_std"))


def test_a_student_begins_as_another_in_its_own_widths_and_its_silent_channels_anew(student_config, teacher, data):
    targets = LiveTargets(teacher, data, "mean_std")
    config = replace(student_config, kept_crops=0, kept_pairs=0)
    start = make_network(student_config.spec)
    same = StudentTask(config, teacher, data, targets, start).model.network
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), start.parameters(), strict=True))
    with torch.no_grad():
        start.encoder.conv2_1.bias[0] = -100.0  # so that it is silent
    stays = StudentTask(config, teacher, data, targets, start).model.network
    assert (stays.encoder.conv2_1.bias == -100.0).any()
    anew = StudentTask(replace(config, revive=1e-3), teacher, data, targets, start).model.network
    assert not (anew.encoder.conv2_1.bias == -100.0).any()
    widths = tuple(tuple(2 * width for width in stage) for stage in config.spec.encoder)
    wide = replace(config, spec=replace(config.spec, encoder=widths))
    assert StudentTask(wide, teacher, data, targets, start).model.network.spec == wide.spec


def test_random_weights_have_nothing_to_revive(student_config, teacher, data):
    config = replace(student_config, kept_crops=0, kept_pairs=0, revive=0.01)
    with pytest.raises(InputError, match="give --init"):
        StudentTask(config, teacher, data, LiveTargets(teacher, data, "mean_std"))


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"distill": 0, "restore": 0, "perceptual_from": 0.3}, "step 1 of"),
        ({"distill": 0, "restore_every": 0, "perceptual_from": 0.3}, "step 1 of"),
        ({"perceptual": 0, "restore": 0, "distill": 1}, r"step ([\d,]+) of \1 has no loss"),
    ],
)
def test_a_step_that_learns_from_nothing_is_refused_before_the_first(student_config, changes, step):
    with pytest.raises(InputError, match=step):
        check_start(replace(student_config, **changes), None)
    check_start(replace(student_config, **changes, distill_features=1), None)


def test_the_style_loss_of_a_student_is_that_of_the_live_taps(student_config, teacher, data):
    config = replace(student_config, kept_crops=0, kept_pairs=0, perceptual_from=0.0, perceptual_ramp=0.0)
    task = StudentTask(config, teacher, data, LiveTargets(teacher, data, "gram"))
    task = StudentTask(replace(config, weights=Weights(style_kind="gram")), teacher, data, task.targets)
    batch = unit(task.load(0, Share()))
    with torch.no_grad():
        measure = Perceptual(teacher.encoder)
        styled = task.model(batch["content"], batch["style"], 0)[0]
        target = task.targets.complete(batch, ALL).features
        wanted = measure.losses(styled.clamp(0, 1), target, measure.taps(batch["style"]), style_kind="gram")["style"]
        assert torch.equal(task.losses(task.model, batch, 0)["style"], wanted)


def test_what_is_measured_of_a_student_is_shown_or_what_its_decoder_gives(student_config, teacher, data):
    targets = LiveTargets(teacher, data, "mean_std")
    config = replace(student_config, kept_crops=0, kept_pairs=0, perceptual_from=0.0, perceptual_ramp=0.0)
    config = replace(config, weights=Weights(tv=1.0))
    found = {}
    for shown in (True, False):
        task = StudentTask(replace(config, measure_clipped=shown), teacher, data, targets)
        with torch.no_grad():
            task.model.network.decoder.conv1_1.weight.mul_(30)  # far out of range
            batch = unit(task.load(0, Share()))
            styled = task.model(batch["content"], batch["style"], 0)[0]
            assert styled.min() < 0
            assert styled.max() > 1
            found[shown] = task.losses(task.model, batch, 0)
            image = styled.clamp(0, 1) if shown else styled
            complete = targets.complete(batch, ALL)
            wanted = task.measure.losses(image, complete.features, complete.style)
            wanted["tv"] = total_variation(image)
        for name, value in wanted.items():
            torch.testing.assert_close(found[shown][name], value)
    assert found[True]["content"] != found[False]["content"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kept_pairs": 0}, "go together"),
        ({"weights": Weights(style_kind="gram")}, "Gram"),
        ({"perceptual_from": 1.5}, "share of the steps"),
        ({"distill": -1.0}, "distill is"),
        ({"revive": 1.0}, "revive is 1.0; it is a share of a layer's loudest channel"),
        ({"distill_features": -1.0}, "distill_features is"),
    ],
)
def test_configs_that_make_no_sense_are_refused(student_config, changes, text):
    with pytest.raises(InputError, match=text):
        replace(student_config, **changes)
