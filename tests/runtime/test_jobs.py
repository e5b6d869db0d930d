"""A run over several pictures: in their order, whole, and that one bad picture does not stop a folder."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adain_runtime import jobs as adain_jobs
from adain_runtime.errors import InputError, QualityError
from adain_runtime.image import Photo
from adain_runtime.jobs import AT_ONCE, AtOnce, Done, Failed, Job, run_jobs

SETTINGS = {"batch_size": 1, "size": None, "max_pixels": 10_000, "quality": 95}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photos_in(folder: str, *names: str, size=(6, 4)) -> list[Job]:
    jobs = []
    for number, name in enumerate(names):
        Path(folder).mkdir(exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(Path(folder) / name)
        jobs.append(Job(Path(folder) / name, Path(f"{name}.out.png")))
    return jobs


def inverted(photos: list[Photo]) -> list[Photo]:
    return [Photo(255 - photo.rgb, photo.alpha) for photo in photos]


def test_an_output_folder_is_made_with_its_first_picture():
    jobs = [Job(job.content, Path("new/deep") / job.output.name) for job in photos_in("in", "a.png", "b.png")]
    jobs[0].content.write_text("a text")
    results = run_jobs(jobs, lambda photos: photos, **SETTINGS)
    assert isinstance(next(results), Failed)
    assert not Path("new").exists()
    assert isinstance(next(results), Done)
    assert jobs[1].output.is_file()


def test_one_bad_picture_of_a_batch_costs_only_itself():
    jobs = photos_in("in", "a.png", "b.png", "c.png")

    def stylize(photos):
        if any(photo.rgb[0, 0, 0] == 1 for photo in photos):
            raise QualityError("not finite")
        return photos

    results = list(run_jobs(jobs, stylize, **SETTINGS | {"batch_size": 3}))
    assert [type(result) for result in results] == [Done, Failed, Done]


def test_a_size_that_would_make_too_large_a_picture_fails_before_it_is_made():
    jobs = photos_in("in", "a.png")
    (result,) = run_jobs(jobs, lambda _: pytest.fail("it was made"), **SETTINGS | {"size": 10_000, "max_pixels": 10**6})
    assert "over the limit of 1,000,000 pixels; give a smaller --size" in str(result.error)


def test_a_size_that_the_format_can_not_hold_fails_before_it_is_stylised():
    (job,) = photos_in("in", "a.png", size=(66000, 2))
    wide = Job(job.content, Path("wide.jpg"))
    settings = SETTINGS | {"max_pixels": 200_000}
    (failed,) = run_jobs([wide], lambda _: pytest.fail("it was stylised"), **settings)
    assert "66000x2, and JPEG holds at most 65500 pixels a side" in str(failed.error)


def test_a_photo_that_no_memory_would_do_for_fails_alone():
    def fits(_):
        raise InputError("no tile is small enough")

    jobs = photos_in("in", "a.png", "b.png")
    results = list(run_jobs(jobs, inverted, at_once=AtOnce(inverted, fits), **SETTINGS))
    assert all(isinstance(result, Done) for result in results)


def test_pictures_are_made_in_their_order_and_are_on_disk_when_they_are_reported():
    jobs = photos_in("in", "a.png", "b.png", "c.png")
    made = []
    for result in run_jobs(jobs, inverted, **SETTINGS):
        assert isinstance(result, Done)
        assert (result.width, result.height) == (6, 4)
        assert not result.flattened
        made.append(result.job)
        assert all(job.output.exists() for job in made)
        assert Image.open(result.job.output).getpixel((0, 0)) == (255 - jobs.index(result.job), 255, 255)
    assert made == jobs


def test_a_bad_picture_in_the_middle_fails_alone():
    jobs = photos_in("in", "a.png", "b.png", "c.png", "d.png")
    jobs[1].content.write_text("a text")
    jobs[2].content.unlink()
    results = list(run_jobs(jobs, inverted, **SETTINGS))
    assert [type(result) for result in results] == [Done, Failed, Failed, Done]
    assert [str(jobs[i].content) in str(results[i].error) for i in (1, 2)] == [True, True]
    assert [job.output.exists() for job in jobs] == [True, False, False, True]


def test_pictures_that_can_not_be_stylised_or_saved_fail_and_the_run_goes_on():
    jobs = photos_in("in", "a.png", "b.png", "c.png", "d.png")
    jobs[2] = Job(jobs[2].content, Path("in/a.png/c.png"))

    def stylize(photos):
        if photos[0].rgb[0, 0, 0] == 0:
            raise QualityError("not finite")
        if photos[0].rgb[0, 0, 0] == 3:
            raise MemoryError
        return photos

    results = list(run_jobs(jobs, stylize, **SETTINGS))
    assert [type(result) for result in results] == [Failed, Done, Failed, Failed]
    assert results[0].error.exit_code == 1
    assert "in/a.png: can't be made" in str(results[2].error)
    assert "in/d.png: there is not enough memory" in str(results[3].error)


def test_of_a_batch_that_memory_does_not_do_for_each_is_tried_alone():
    def stylize(photos):
        if len(photos) > 1:
            raise MemoryError
        return photos

    results = list(run_jobs(photos_in("in", "a.png", "b.png"), stylize, **SETTINGS | {"batch_size": 2}))
    assert [type(result) for result in results] == [Done, Done]


def test_an_image_that_an_encoder_gives_up_on_costs_only_itself(monkeypatch):
    jobs = photos_in("in", "a.png", "b.png")
    save = Image.Image.save

    def fail(image, to, *arguments, **options):
        if np.asarray(image)[0, 0, 0] == 255:
            raise OSError("cannot write file as PNG (encoder returned None)")
        save(image, to, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", fail)
    results = list(run_jobs(jobs, inverted, **SETTINGS))
    assert [type(result) for result in results] == [Failed, Done]
    assert "a.png.out.png: a 6x4 image can't be encoded as PNG (cannot write" in str(results[0].error)


def test_photos_are_handed_over_a_batch_at_a_time_without_the_bad_ones():
    jobs = photos_in("in", *(f"{letter}.png" for letter in "abcde"))
    jobs[1].content.write_text("a text")
    batches = []

    def stylize(photos):
        batches.append([int(photo.rgb[0, 0, 0]) for photo in photos])
        return photos

    results = list(run_jobs(jobs, stylize, **SETTINGS | {"batch_size": 2}))
    assert batches == [[0], [2, 3], [4]]
    assert sum(isinstance(result, Done) for result in results) == 4


def test_a_batch_of_bad_pictures_only_is_not_handed_over():
    jobs = photos_in("in", "a.png")
    jobs[0].content.write_text("a text")
    (result,) = run_jobs(jobs, lambda _: pytest.fail("nothing was read"), **SETTINGS)
    assert isinstance(result, Failed)


def test_size_and_max_pixels_hold_for_every_picture():
    jobs = photos_in("in", "a.png") + photos_in("large", "b.png", size=(200, 100))
    small, large = run_jobs(jobs, inverted, **SETTINGS | {"size": 8})
    assert (small.width, small.height) == (12, 8)
    assert "over the limit of 10,000" in str(large.error)


def test_transparency_that_the_format_loses_is_told():
    rgba = np.full((4, 4, 4), 128, np.uint8)
    Image.fromarray(rgba).save("clear.png")
    jobs = [Job(Path("clear.png"), Path(name)) for name in ("out.png", "out.jpg")]
    assert [result.flattened for result in run_jobs(jobs, inverted, **SETTINGS)] == [False, True]


class TestOverlap:
    """Decoding and encoding beside the network."""

    def run(self, jobs, stylize=lambda photos: photos, **changes):
        return list(run_jobs(jobs, stylize, **(SETTINGS | changes)))

    def test_results_come_in_order_with_the_bad_ones_in_their_places(self):
        jobs = photos_in("in", *(f"{number:02}.png" for number in range(12)))
        for number in (3, 4, 11):
            jobs[number].content.write_text("no picture")
        for batch_size in (1, 5):
            results = self.run(jobs, batch_size=batch_size)
            assert [result.job for result in results] == jobs
            assert [n for n, result in enumerate(results) if isinstance(result, Failed)] == [3, 4, 11]

    def test_the_next_is_decoded_and_the_last_encoded_while_one_is_stylised(self, monkeypatch):
        jobs = photos_in("in", "a.png", "b.png", "c.png")
        decoded = {job.content.name: threading.Event() for job in jobs}
        load = adain_jobs.load_image

        def load_and_tell(path, **options):
            photo = load(path, **options)
            decoded[path.name].set()
            return photo

        monkeypatch.setattr(adain_jobs, "load_image", load_and_tell)
        names = iter(["b.png", "c.png"])

        def stylize(photos):
            waited_for = next(names, None)
            assert waited_for is None or decoded[waited_for].wait(60)  # it is decoded while this one is at work
            return photos

        assert all(isinstance(result, Done) for result in self.run(jobs, stylize))

    def test_a_large_photo_has_the_memory_to_itself(self, monkeypatch):
        monkeypatch.setattr(adain_jobs, "LARGE", 10)
        jobs = photos_in("in", "a.png", "b.png", "c.png")
        events = []

        def telling(name, work):
            return lambda *arguments, **options: events.append(name) or work(*arguments, **options)

        for name in ("load_image", "save_image"):
            monkeypatch.setattr(adain_jobs, name, telling(name, getattr(adain_jobs, name)))
        self.run(jobs, lambda photos: events.append("stylize") or photos)
        assert events == ["load_image", "stylize", "save_image"] * 3

    def test_an_interrupt_gives_what_was_written_and_writes_no_more(self):
        jobs = photos_in("in", *(f"{number}.png" for number in range(6)))
        count = iter(range(6))

        def stylize(photos):
            if next(count) == 3:
                raise KeyboardInterrupt
            return photos

        given = []
        results = run_jobs(jobs, stylize, **SETTINGS)
        with pytest.raises(KeyboardInterrupt):
            given += (result.job.output for result in results)
        assert given == [job.output for job in jobs if job.output.exists()]
        assert given == [job.output for job in jobs[: len(given)]]
        assert len(given) >= 1
        assert not any(thread.name.startswith(("decode", "encode")) for thread in threading.enumerate())

    def test_photos_that_fit_are_stylised_beside_each_other_and_the_others_alone_in_the_callers_thread(self):
        jobs = photos_in("in", *(f"{number}.png" for number in range(9)))
        Image.new("RGB", (40, 40)).save(jobs[4].content)
        pair = threading.Barrier(AT_ONCE)
        here, running, alone = threading.current_thread(), [], []

        def beside(photos):
            running.append(photos)
            pair.wait(60)  # breaks where they come one after the other
            running.remove(photos)
            return inverted(photos)

        def by_itself(photos):
            alone.append((threading.current_thread(), list(running)))
            return inverted(photos)

        results = self.run(jobs, by_itself, at_once=AtOnce(beside, lambda photo: photo.width < 40))
        assert [result.job for result in results if isinstance(result, Done)] == jobs
        assert alone == [(here, [])]
        assert [Image.open(job.output).getpixel((0, 0))[0] for job in jobs] == [
            255,
            254,
            253,
            252,
            255,
            *range(250, 246, -1),
        ]

    def test_no_more_photos_are_begun_than_run_at_once_and_the_saving_keeps_up(self, monkeypatch):
        jobs = photos_in("in", *(f"{number}.png" for number in range(12)))
        save, lock, made, saved, most = adain_jobs.save_image, threading.Lock(), [], [], []

        def beside(photos):
            with lock:
                made.extend(photos)
                most.append(len(made) - len(saved))
            return photos

        def slow(photo, *arguments, **options):
            time.sleep(0.02)
            save(photo, *arguments, **options)
            saved.append(photo)

        monkeypatch.setattr(adain_jobs, "save_image", slow)
        assert len(self.run(jobs, at_once=AtOnce(beside, lambda _: True))) == 12
        assert max(most) <= AT_ONCE + 1

    def test_a_photo_that_fails_beside_another_costs_only_itself(self):
        jobs = photos_in("in", "a.png", "b.png", "c.png", "d.png")
        jobs[2].content.write_text("no picture")

        def beside(photos):
            if photos[0].rgb[0, 0, 0] == 0:
                raise QualityError("not finite")
            return photos

        results = self.run(jobs, at_once=AtOnce(beside, lambda _: True))
        assert [type(result) for result in results] == [Failed, Done, Failed, Done]

    def test_a_batch_that_was_asked_for_goes_through_the_network_together(self):
        jobs = photos_in("in", "a.png", "b.png", "c.png", "d.png")
        at_once = AtOnce(lambda _: pytest.fail("a batch was split"), lambda _: True)
        assert len(self.run(jobs, batch_size=2, at_once=at_once)) == 4

    def test_an_interrupt_while_two_are_stylised_gives_what_was_written_and_leaves_no_thread(self, monkeypatch):
        jobs = photos_in("in", *(f"{number}.png" for number in range(8)))
        load = adain_jobs.load_image

        def until_the_fifth(path, **options):
            if path.name == "4.png":
                raise KeyboardInterrupt  # it reaches the caller through the future that it waits for
            return load(path, **options)

        monkeypatch.setattr(adain_jobs, "load_image", until_the_fifth)
        given = []
        results = run_jobs(jobs, inverted, **SETTINGS, at_once=AtOnce(inverted, lambda _: True))
        with pytest.raises(KeyboardInterrupt):
            given += (result.job.output for result in results)
        assert (
            given == [job.output for job in jobs if job.output.exists()] == [job.output for job in jobs[: len(given)]]
        )
        names = ("decode", "encode", "stylise")
        assert not any(thread.name.startswith(names) for thread in threading.enumerate())

    @pytest.mark.parametrize("at_once", [None, AtOnce(inverted, lambda _: True)])
    def test_a_photo_whose_saving_was_waited_for_when_the_interrupt_came_is_given(self, monkeypatch, at_once):
        jobs = photos_in("in", *(f"{number}.png" for number in range(6)))
        save = adain_jobs.save_image

        def slow(photo, path, **options):
            if path == jobs[1].output:
                _thread.interrupt_main()
                time.sleep(0.2)
            save(photo, path, **options)

        monkeypatch.setattr(adain_jobs, "save_image", slow)
        given = []
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        results = run_jobs(jobs, inverted, **SETTINGS, at_once=at_once)
        try:
            with pytest.raises(KeyboardInterrupt):
                given += (result.job.output for result in results)
        finally:
            signal.signal(signal.SIGINT, before)
        assert given == [job.output for job in jobs if job.output.exists()]
        assert given[:2] == [job.output for job in jobs[:2]]

    @pytest.mark.parametrize("at_once", [None, AtOnce(lambda _: 1 / 0, lambda _: True)])
    def test_a_bug_in_a_lane_is_not_swallowed(self, at_once):
        with pytest.raises(ZeroDivisionError):
            self.run(photos_in("in", "a.png", "b.png", "c.png"), lambda _: 1 / 0, at_once=at_once)

    def test_a_bug_in_a_thread_is_not_swallowed(self, monkeypatch):
        jobs = photos_in("in", "a.png", "b.png", "c.png")
        monkeypatch.setattr(adain_jobs, "save_image", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            self.run(jobs)

    def test_what_is_left_unfinished_by_the_caller_leaves_no_thread(self):
        results = run_jobs(photos_in("in", "a.png", "b.png", "c.png"), lambda photos: photos, **SETTINGS)
        next(results)
        results.close()
        assert not any(thread.name.startswith(("decode", "encode")) for thread in threading.enumerate())
