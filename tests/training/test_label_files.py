"""Labels beside pictures: they go through all changes of place together, and are part of what a run is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from splatbench.training.batches import Batches
from splatbench.training.errors import TrainingError
from splatbench.training.label_files import LabelFolder, label_of
from splatbench.training.picture_rules import Whole
from splatbench.training.pictures import open_material
from splatbench.training.sizes import resample
from splatbench.training.sources import FolderSource


@pytest.fixture
def labelled(folder, settings):
    """A training file whose labels are the red channels of the pictures."""
    source = FolderSource(folder / "pictures")
    for i, name in enumerate(source.names):
        path = folder / "labels" / label_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.read(i)[..., 0]).save(path)
    settings["data"] |= {"labels": "labels"}
    return settings


def batches(configure, settings, steps=12):
    config = configure(settings)
    made = Batches(open_material(config.data).training, config)
    return [made.batch_for(step) for step in range(steps)]


TURNS = {"flip": 0.5, "flip_vertical": 0.5, "transpose": 0.5}


@pytest.mark.parametrize(
    "size",
    [
        {"policy": "crop", "side": [16, 32], "multiple": 8, "scales": [0.4, 1.0]},
        {"policy": "stretch", "area": [900, 9000]},
    ],
)
def test_a_label_is_moved_with_its_picture(configure, labelled, size):
    """Crops, reductions, flips and transposes: the label of red pixels stays the red of the pixels."""
    turns = TURNS if size["policy"] == "crop" else {"flip": 0.5, "flip_vertical": 0.5}
    for batch in batches(configure, labelled | {"size": size, "augment": turns}):
        assert batch.shape[1] == 4 and batch.dtype == torch.uint8
        assert torch.equal(batch[:, 3], batch[:, 0])


def test_colours_noise_and_blur_leave_labels_alone(configure, labelled):
    plain = batches(configure, labelled | {"augment": {"flip": 0.5}})
    changed = batches(configure, labelled | {"augment": "air"})
    for before, after in zip(plain, changed, strict=True):
        assert torch.equal(after[:, 3], before[:, 3])
        assert not torch.equal(after[:, :3], before[:, :3])


def test_without_labels_batches_are_what_they_were(configure, labelled):
    with_labels = batches(configure, labelled | {"augment": "air"})
    del labelled["data"]["labels"]
    without = batches(configure, labelled | {"augment": "air"})
    assert all(torch.equal(a[:, :3], b) for a, b in zip(with_labels, without, strict=True))


def test_dark_labels_do_not_darken_pictures(rng):
    """Pillow would take a fourth channel for an opacity."""
    picture = rng.integers(0, 256, (20, 30, 3), np.uint8)
    both = np.dstack([picture, np.zeros((20, 30), np.uint8)])
    for size in ((9, 13), (40, 61), (20, 30)):
        assert np.array_equal(resample(both, size)[..., :3], resample(picture, size))
        assert not resample(both, size)[..., 3].any()


def test_whole_pictures_in_the_order_of_their_names(configure, labelled):
    labelled["data"] |= {"order": "listed"}
    labelled |= {"size": {"policy": "whole"}, "batch": 1, "augment": {}}
    material = open_material(configure(labelled).data)
    pictures = [material.training.get(i)[1] for i in range(len(material.training))]
    found = batches(configure, labelled, 2 * len(pictures))
    for batch, picture in zip(found, [*pictures, *pictures], strict=True):
        assert np.array_equal(batch[0].permute(1, 2, 0).numpy(), picture)
    assert material.validation.readable()[0].shape[2] == 3


def test_whole_pictures_come_one_by_one(configure, settings):
    with pytest.raises(TrainingError, match="takes `batch: 1`"):
        configure(settings | {"size": {"policy": "whole"}, "batch": 2})
    assert Whole().policy == "whole"


# -- what is wrong with labels ---------------------------------------------------------------------------------------


def test_a_missing_label_is_named_before_anything_is_learned(folder, configure, labelled):
    (folder / "labels" / "below" / "a.png").unlink()
    missing = r"labels/below/a\.png: the label of below/a\.png is missing; make it with: splatbench labels"
    with pytest.raises(TrainingError, match=missing):
        open_material(configure(labelled | {"data": {"train": "pictures", "labels": "labels"}}).data)
    with pytest.raises(TrainingError, match="no labels at nowhere: looked at .*nowhere; make it with"):
        LabelFolder("nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: Image.open(path).resize((7, 9)).save(path), r"a\.png is L, 7x9 pixels, expected .* 60x48"),
        (lambda path: Image.open(path).convert("RGB").save(path), "is RGB, 60x48 pixels, expected 8-bit grey"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"a\.png: the label cannot be read"),
        (lambda path: path.write_bytes(b"no PNG"), r"a\.png: the label cannot be read"),
    ],
)
def test_labels_that_do_not_fit(folder, labelled, change, message):
    change(folder / "labels" / "a.png")
    with pytest.raises(TrainingError, match=message):
        LabelFolder("labels").read("a.png", (48, 60))


def test_two_pictures_never_share_a_label(folder, labelled, configure):
    Image.open(folder / "pictures" / "a.png").convert("RGB").save(folder / "pictures" / "a.jpg")
    with pytest.raises(TrainingError, match=r"a\.jpg and a\.png would have the same label, a\.png"):
        open_material(configure(labelled | {"data": {"train": "pictures", "labels": "labels"}}).data)


def test_a_run_with_other_labels_is_another_run(folder, labelled, run):
    plain = {**labelled, "data": {"train": "pictures", "validation": {"count": 2}}}
    run(plain | {"iterations": 4}, "plain")
    with pytest.raises(TrainingError, match=r"other settings: data\.labels: None -> 'labels'"):
        run(labelled, "plain", resume=True)
    listed = {**plain, "data": {**plain["data"], "order": "listed"}}
    with pytest.raises(TrainingError, match=r"data\.order: 'shuffled' -> 'listed'"):
        run(listed, "plain", resume=True)


def test_the_content_of_labels_is_part_of_a_runs_identity(folder, labelled, configure):
    data = configure(labelled).data
    before = open_material(data).fingerprint
    name = open_material(data).training.get(0)[0]
    path = folder / "labels" / label_of(name)
    label = np.array(Image.open(path))
    label[0, 0] ^= 1
    Image.fromarray(label).save(path)
    assert open_material(data).fingerprint != before
    label[0, 0] ^= 1
    Image.fromarray(label).save(path)
    assert open_material(data).fingerprint == before
