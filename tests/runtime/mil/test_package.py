"""Packages are opened, checked whole before anything runs, executed, and looked into."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch, which the operations are compared with, is not installed")
F = torch.nn.functional
ct = pytest.importorskip("coremltools", reason="coremltools, which makes the packages, is not installed")

from coremltools.converters.mil import Builder as mb  # noqa: E402, N813

from adain_runtime.errors import BundleError, InputError, QualityError  # noqa: E402
from adain_runtime.mil import Package, intermediates, value_ranges  # noqa: E402
from mil_programs import edit_spec, model_file, program, weight_file  # noqa: E402

MIL = ct.proto.MIL_pb2


def test_a_package_computes_what_torch_computes(small, image):
    package = Package.open(small)
    assert list(package.functions) == [package.default] == ["main"]
    x = image(1, 3, 6, 7)
    values = {value.name: value.values for value in package.trace("main", {"x0": x})}
    random = np.random.default_rng(0)  # as the fixture makes them
    weight, bias = (torch.tensor(random.normal(0, 1, shape).astype(np.float32)) for shape in ((4, 3, 3, 3), (4,)))
    np.testing.assert_allclose(values["convolved"], F.conv2d(torch.tensor(x), weight, bias), atol=1e-5)
    np.testing.assert_array_equal(package.run("main", {"x0": x})["made"], np.maximum(values["convolved"], 0))


def test_a_package_describes_itself(small):
    package = Package.open(small)
    (given,), (made,) = package.functions["main"].inputs, package.functions["main"].outputs
    assert (given.name, given.dtype, given.shape, given.color, given.flexible) == (
        "x0",
        "float32",
        (1, 3, 6, 7),
        None,
        False,
    )
    assert made.name == "made"
    assert package.metadata["com.github.apple.coremltools.version"] == ct.__version__
    assert package.functions["main"].block.opset == "CoreML7"


def test_a_trace_gives_every_value_with_what_it_was_made_of(small, image):
    found = list(Package.open(small).trace("main", {"x0": image(1, 3, 6, 7)}))
    assert [(value.name, value.kind) for value in found] == [("x0", "input"), ("convolved", "conv"), ("made", "relu")]
    assert str(found[1].type) == "fp32 [1, 4, 4, 5]"
    assert found[2].sources == ("convolved",)
    assert "x0" in found[1].sources


def test_values_die_when_nothing_needs_them(small):
    steps = Package.open(small).plan("main").steps
    assert "x0" in steps[0].dies
    assert steps[1].dies == ("convolved",)  # and not the output


def test_ranges_are_those_of_all_samples(small, image):
    package = Package.open(small)
    samples = [{"x0": image(1, 3, 6, 7, seed=seed) * (seed + 1)} for seed in range(3)]
    ranges = value_ranges(package, "main", iter(samples))
    seen = [dict(intermediates(package, "main", feeds)) for feeds in samples]
    assert set(ranges) == {"x0", "convolved", "made"}
    for name, found in ranges.items():
        assert found.low == min(float(values[name].min()) for values in seen)
        assert found.high == max(float(values[name].max()) for values in seen)
    assert ranges["x0"].high > 2


def test_each_result_is_rounded_to_its_declared_type(tmp_path, image):
    package = Package.open(
        program(
            tmp_path / "half.mlpackage",
            lambda x: mb.cast(
                x=mb.mul(x=mb.add(x=x, y=np.float16(1), name="sum"), y=np.float16(3)), dtype="fp32", name="y"
            ),
            [(5,)],
            dtype="fp16",
        )
    )
    x = image(5).astype(np.float16)
    found = package.run("main", {"x0": x})["y"]
    np.testing.assert_array_equal(found, (x + np.float16(1)) * np.float16(3))
    assert (found != ((x.astype(np.float32) + 1) * 3)).any()


def test_integers_texts_lists_and_several_results_pass_through_a_package(tmp_path):
    def body(x):
        left, right = mb.split(x=x, num_splits=2, axis=1)
        joined = mb.concat(values=[right, left, right], axis=1)
        return mb.add(x=joined, y=mb.cast(x=mb.reduce_max(x=mb.shape(x=joined)), dtype="fp32"), name="y")

    package = Package.open(program(tmp_path / "parts.mlpackage", body, [(2, 4)]))
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    wanted = np.concatenate([x[:, 2:], x[:, :2], x[:, 2:]], 1) + 6
    np.testing.assert_array_equal(package.run("main", {"x0": x})["y"], wanted)


@pytest.mark.parametrize(
    ("feeds", "why"),
    [
        ({}, "main takes x0; found nothing"),
        ({"y": 1}, "main takes x0; found y"),
        ({"x0": np.zeros((1, 3, 6, 8), np.float32)}, r"'x0': takes \[1, 3, 6, 7\], found \[1, 3, 6, 8\]"),
        ({"x0": np.zeros((1, 3, 6, 7), int)}, "wants float32, found int64"),
    ],
)
def test_feeds_are_checked(small, feeds, why):
    with pytest.raises(InputError, match=why):
        Package.open(small).run("main", feeds)


def test_an_unknown_function_is_told_with_those_there_are(small):
    with pytest.raises(InputError, match="no function 'stylize_512'; it has main"):
        Package.open(small).run("stylize_512", {})


def test_an_input_that_is_not_finite_is_refused(small):
    with pytest.raises(QualityError, match="'x0' holds values that are not finite"):
        Package.open(small).run("main", {"x0": np.full((1, 3, 6, 7), np.nan, np.float32)})


def test_an_output_that_is_not_finite_is_told_with_the_operation_that_began_it(tmp_path):
    path = program(
        tmp_path / "naive.mlpackage",
        lambda x: mb.reduce_mean(x=mb.mul(x=x, y=x, name="squares"), name="power"),
        [(1, 4)],
        dtype="fp16",
    )
    package = Package.open(path)
    assert package.run("main", {"x0": np.full((1, 4), 200, np.float16)})["power"] == 40000
    with pytest.raises(QualityError, match=r"not finite in 'power'; the first such value is 'squares', fp16 .* by mul"):
        package.run("main", {"x0": np.full((1, 4), 300, np.float16)})
    with pytest.raises(QualityError, match="'squares' is not finite on sample 1"):
        value_ranges(package, "main", [{"x0": np.full((1, 4), 300, np.float16)}])


def test_float16_sums_overflow_where_float32_sums_do_not(tmp_path):
    path = program(tmp_path / "mean.mlpackage", lambda x: mb.reduce_mean(x=x, name="mean"), [(64, 64)], dtype="fp16")
    package, x = Package.open(path), np.full((64, 64), 20, np.float16)
    assert package.run("main", {"x0": x})["mean"] == 20
    with pytest.raises(QualityError, match="not finite in 'mean'"):
        package.run("main", {"x0": x}, accumulate="float16")


def test_operations_of_another_tool_are_all_named_before_anything_runs(tmp_path, monkeypatch):
    path = program(
        tmp_path / "other.mlpackage",
        lambda x: mb.softmax(x=mb.erf(x=mb.matmul(x=mb.relu(x=x), y=x)), axis=-1),
        [(3, 3)],
    )
    monkeypatch.setattr("adain_runtime.mil.plan.Step.compute", lambda *_: pytest.fail("something ran"))
    package = Package.open(path)
    with pytest.raises(InputError, match=r"operations that the reference doesn't know: erf, matmul, softmax;"):
        package.run("main", {"x0": np.ones((3, 3), np.float32)})


def test_loops_and_branches_are_refused_by_name(tmp_path):
    path = program(
        tmp_path / "branch.mlpackage",
        lambda x: mb.cond(
            pred=mb.greater(x=mb.reduce_max(x=x), y=0.5), _true_fn=lambda: mb.relu(x=x), _false_fn=lambda: mb.abs(x=x)
        ),
        [(3,)],
    )
    with pytest.raises(InputError, match="doesn't know: cond"):
        Package.open(path).plan("main")


def test_a_neural_network_is_refused_as_no_ml_program(damaged):
    def change(spec):
        spec.neuralNetwork.SetInParent()

    edit_spec(damaged, change)
    with pytest.raises(InputError, match=r"model\.mlmodel: is no ML Program"):
        Package.open(damaged)


def test_a_folder_that_is_no_package_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no such \.mlpackage folder"):
        Package.open(tmp_path / "gone.mlpackage")
    with pytest.raises(BundleError, match=r"Manifest\.json: missing"):
        Package.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rootModelIdentifier": "a", "itemInfoEntries": {"a": 1}}'])
def test_a_damaged_manifest_is_told(damaged, text):
    (damaged / "Manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"Manifest\.json: names no model .* copy or export the package again"):
        Package.open(damaged)


@pytest.mark.parametrize("item", ["../model.mlmodel", "/etc/passwd", 3])
def test_a_manifest_that_leads_out_of_the_package_is_refused(damaged, item):
    path = damaged / "Manifest.json"
    plain = json.loads(path.read_text())
    plain["itemInfoEntries"][plain["rootModelIdentifier"]]["path"] = item
    path.write_text(json.dumps(plain))
    with pytest.raises(BundleError, match="outside the package"):
        Package.open(damaged)


def test_weights_that_lie_outside_the_package_are_refused(damaged):
    def change(spec):
        for operation in spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations:
            if "val" in operation.attributes and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                operation.attributes["val"].blobFileValue.fileName = "@model_path/../../../secret.bin"

    edit_spec(damaged, change)
    with pytest.raises(BundleError, match="outside the package"):
        Package.open(damaged).plan("main")


def test_every_cut_of_the_model_is_found(damaged):
    data = model_file(damaged).read_bytes()
    for length in range(0, len(data), 7):
        model_file(damaged).write_bytes(data[:length])
        with pytest.raises(
            (BundleError, InputError), match=r"damaged\.mlpackage"
        ):  # within a field, or without its end
            Package.open(damaged).plan("main")


def test_a_missing_file_is_told(damaged):
    weight_file(damaged).unlink()
    with pytest.raises(BundleError, match=r"weight\.bin: can't be read"):
        Package.open(damaged).plan("main")
    model_file(damaged).unlink()
    with pytest.raises(BundleError, match=r"model\.mlmodel: can't be read"):
        Package.open(damaged)


def test_a_cut_or_flipped_weight_file_is_found_before_anything_runs(damaged):
    path, data = weight_file(damaged), weight_file(damaged).read_bytes()
    path.write_bytes(data[:-16])
    with pytest.raises(BundleError, match=r"weight\.bin: .* cut short"):
        Package.open(damaged).plan("main")
    path.write_bytes(data[:64] + bytes([data[64] ^ 1]) + data[65:])
    with pytest.raises(BundleError, match=r"weight\.bin: no blob header at 64"):
        Package.open(damaged).plan("main")


def test_weights_that_are_not_finite_are_found_before_anything_runs(damaged):
    data = bytearray(weight_file(damaged).read_bytes())
    data[128:132] = np.float32(np.nan).tobytes()
    weight_file(damaged).write_bytes(data)
    with pytest.raises(BundleError, match="its weights hold values that are not finite"):
        Package.open(damaged).plan("main")


def test_a_constant_within_the_program_that_is_nan_is_found_too(damaged):
    """Tensors of a few elements stand in the program, not among the weights."""
    random = np.random.default_rng(0)
    random.normal(0, 1, (4, 3, 3, 3))
    bias = random.normal(0, 1, 4).astype(np.float32).tobytes()
    data = model_file(damaged).read_bytes()
    assert data.count(bias) == 1
    model_file(damaged).write_bytes(data.replace(bias, np.float32(np.nan).tobytes() + bias[4:]))
    with pytest.raises(BundleError, match="a constant of it is NaN: damaged"):
        Package.open(damaged).plan("main")


@pytest.mark.parametrize("flips", range(40))
def test_a_model_with_a_flipped_byte_runs_or_is_refused_but_never_crashes(damaged, flips, image):
    data = bytearray(model_file(damaged).read_bytes())
    data[len(data) * flips // 40] ^= 0xFF
    model_file(damaged).write_bytes(data)
    try:
        package = Package.open(damaged)
        package.run(package.default, {"x0": image(1, 3, 6, 7)})
    except (BundleError, InputError, QualityError) as error:
        assert "\n" not in str(error)  # noqa: PT017


def main_block(spec):
    return spec.mlProgram.functions["main"].block_specializations["CoreML7"]


def wrong_shape(spec):
    main_block(spec).operations[-1].outputs[0].type.tensorType.dimensions[3].constant.size = 9


def wrong_type(spec):
    main_block(spec).operations[-1].outputs[0].type.tensorType.dataType = MIL.INT32


def unknown_parameter(spec):
    operation = main_block(spec).operations[-1]
    operation.inputs["slope"].CopyFrom(operation.inputs["x"])


def missing_parameter(spec):
    del main_block(spec).operations[-1].inputs["x"]


def undefined_name(spec):
    main_block(spec).operations[-1].inputs["x"].arguments[0].name = "nothing"


def twice(spec):
    main_block(spec).operations[-1].outputs[0].name = "convolved"


def two_arguments(spec):
    argument = main_block(spec).operations[-1].inputs["x"].arguments
    argument.add().CopyFrom(argument[0])


def no_output(spec):
    del main_block(spec).operations[-1]


def strange_type(spec):
    main_block(spec).operations[-1].outputs[0].type.tensorType.dataType = MIL.FLOAT8E5M2


def state(spec):
    spec.description.state.add().name = "memory"


def other_opset(spec):
    spec.mlProgram.functions["main"].opset = "CoreML99"


def not_described(spec):
    spec.mlProgram.functions["second"].CopyFrom(spec.mlProgram.functions["main"])


def other_output(spec):
    spec.description.output[0].name = "elsewhere"


def sequence(spec):
    spec.description.input[0].type.sequenceType.SetInParent()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (wrong_shape, r"relu 'made': gives the shape \[1, 4, 4, 5\], and fp32 \[1, 4, 4, 9\] is declared"),
        (wrong_type, "relu 'made': gives float32, and int32"),
        (unknown_parameter, "relu 'made': has the parameter 'slope', which the reference doesn't know"),
        (missing_parameter, "relu 'made': lacks the parameter 'x'"),
        (undefined_name, "relu 'made': takes 'nothing', which nothing before it computes"),
        (twice, "computes 'convolved' a second time"),
        (two_arguments, "2 arguments for 'x'"),
        (no_output, "the output 'made' is computed by nothing"),
        (strange_type, "'made': has the element type 41"),
        (state, "keeps a state"),
        (other_opset, "opset 'CoreML99', and has a body for CoreML7"),
        (not_described, "function '(main|second)' is not described"),
        (other_output, "describes the output 'elsewhere', which it doesn't give"),
        (sequence, "'x0' is neither an array nor an image"),
    ],
)
def test_what_contradicts_itself_is_told(damaged, change, why, image):
    edit_spec(damaged, change)
    with pytest.raises((BundleError, InputError), match=why) as caught:
        Package.open(damaged).run("main", {"x0": image(1, 3, 6, 7)})
    assert str(damaged) in str(caught.value)


def test_the_reader_agrees_with_the_published_classes(small):
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(model_file(small).read_bytes())
    block = Package.open(small).functions["main"].block
    theirs = main_block(spec)
    assert [operation.kind for operation in block.operations] == [operation.type for operation in theirs.operations]
    assert [set(operation.inputs) for operation in block.operations if operation.kind != "const"] == [
        set(operation.inputs) for operation in theirs.operations if operation.type != "const"
    ]
    assert block.outputs == tuple(theirs.outputs)


def test_a_package_opens_from_a_copy_elsewhere(small, tmp_path, image):
    copy = shutil.copytree(small, tmp_path / "copy with spaces.mlpackage")
    x = {"x0": image(1, 3, 6, 7)}
    np.testing.assert_array_equal(Package.open(copy).run("main", x)["made"], Package.open(small).run("main", x)["made"])
