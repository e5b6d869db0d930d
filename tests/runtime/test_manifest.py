"""Manifests round-trip byte for byte, and the JSON schema and the reader refuse the same things."""

from __future__ import annotations

import copy
import json
from dataclasses import fields, replace
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adain_runtime
from adain_runtime.errors import BundleError
from adain_runtime.manifest import PART_NAMES, SCHEMA_VERSION, FileEntry, Function, Manifest, Parity, Sizes
from adain_runtime.parts import part_interface
from adain_runtime.spec import NetworkSpec

SCHEMA = json.loads(files(adain_runtime).joinpath("manifest.schema.json").read_text())
EMBEDDED = files(adain_runtime).joinpath("bundles", "lite-onnx-fp32", "manifest.json").read_text()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ABSENT = "taken away"

OPTIONAL = {"options"}  # left out where there is nothing, so that other manifests stay as they were

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
paths = st.lists(names, min_size=1, max_size=8).map("/".join)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
finite = st.floats(allow_nan=False, allow_infinity=False)
specs = st.sampled_from(
    [
        NetworkSpec(name="small", encoder=((4,), (8, 8)), decoder=((8, 4), (3,))),
        NetworkSpec(name="vgg_9", encoder=((5,),), decoder=((3,),), correction=0, color_conv=True, eps=1),
        NetworkSpec(name="-a-", encoder=((5,),), decoder=((3,),), downsample="stride", alpha_range=(-1, 2.5)),
    ]
)


@st.composite
def manifests(draw) -> Manifest:
    spec = draw(specs)
    entries = draw(st.dictionaries(paths, st.builds(FileEntry, st.integers(0, 2**40), digests), min_size=1))
    low = draw(st.integers(1, 64))
    exact = tuple(sorted(draw(st.sets(st.tuples(*[st.sampled_from([64, 128, 2048])] * 2), max_size=3))))
    sizes = (
        Sizes(16, 32, draw(st.sampled_from([None, 2048])), exact)
        if exact
        else Sizes(draw(st.integers(1, 64)), low, draw(st.none() | st.integers(low, 2**20)))
    )
    functions = tuple(Function(f"f_{height}x{width}", height, width) for height, width in exact)
    return Manifest(
        name=draw(names),
        target=draw(names),
        precision=draw(names),
        spec=spec,
        weights_sha256=draw(digests),
        encoder_id=draw(digests)[:16],
        parts={
            part: replace(
                part_interface(
                    part,
                    spec,
                    draw(st.sampled_from(sorted(entries)).map(lambda path: path.split("/")[0])),
                    features=draw(st.sampled_from(["float32", "float16"])),
                ),
                functions=draw(st.sampled_from([(), functions])),
            )
            for part in draw(st.sets(st.sampled_from(PART_NAMES), min_size=1))
        },
        files=entries,
        sizes=sizes,
        rewrites=tuple(draw(st.lists(st.text()))),
        tools=draw(st.dictionaries(st.text(), st.text())),
        parity=draw(
            st.none()
            | st.builds(
                Parity,
                st.text(),
                st.text(),
                st.lists(st.text()).map(tuple),
                st.floats(0, allow_infinity=False),
                st.none() | finite,
            )
            | st.builds(  # of an encoder alone: no image
                Parity,
                st.text(),
                st.text(),
                st.lists(st.text()).map(tuple),
                st.none(),
                st.none(),
                st.floats(0, allow_infinity=False),
            )
        ),
        calibration=draw(st.none() | digests),
        int8=tuple(draw(st.lists(st.text()))),
        options=draw(st.dictionaries(st.text(), st.text())),
    )


@settings(max_examples=50)
@given(manifests())
def test_a_manifest_comes_back_from_its_text_equal_and_gives_the_same_text_again(manifest):
    text = manifest.to_json()
    again = Manifest.from_json(text)
    assert again == manifest
    assert again.to_json() == text


@settings(max_examples=50)
@given(manifests())
def test_every_manifest_that_is_written_satisfies_the_schema(manifest):
    VALIDATOR.validate(json.loads(manifest.to_json()))


def test_the_schema_is_itself_valid_and_closed_and_described():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert {field.name for field in fields(Manifest)} == set(SCHEMA["properties"])
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"]) - OPTIONAL
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    for kind in (SCHEMA, *(kind for kind in SCHEMA["$defs"].values() if kind["type"] == "object")):
        assert kind["additionalProperties"] is False
        assert all("description" in field or "$ref" in field for field in kind["properties"].values())


def test_the_embedded_manifest_satisfies_the_schema_and_is_written_as_to_json_writes_it():
    VALIDATOR.validate(json.loads(EMBEDDED))
    assert Manifest.from_json(EMBEDDED).to_json() == EMBEDDED


def changed(path: tuple, value: object) -> str:
    """The embedded manifest's text with one value replaced, added or taken away."""
    plain = json.loads(EMBEDDED)
    inner = plain
    for key in path[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[path[-1]]
    else:
        inner[path[-1]] = copy.deepcopy(value)
    return json.dumps(plain)


IMAGE = ("parts", "encoder", "inputs", 0)
BOTH_REFUSE = [
    *(((field.name,), ABSENT) for field in fields(Manifest) if field.name not in OPTIONAL),
    *(((field.name,), 3.5) for field in fields(Manifest)),
    (("extra",), 1),
    (("schema_version",), 0),
    (("schema_version",), 2),
    (("schema_version",), True),
    (("schema_version",), "1"),
    (("name",), ""),
    (("name",), "../lite"),
    (("name",), "a/b"),
    (("name",), "a b"),
    (("target",), ".."),
    (("precision",), "-fp32"),
    (("spec", "name"), "é"),
    (("spec", "name"), "--"),
    (("spec", "extra"), 1),
    (("spec", "eps"), ABSENT),
    (("spec", "eps"), 0),
    (("spec", "eps"), "1e-5"),
    (("spec", "correction"), 2),
    (("spec", "correction"), True),
    (("spec", "padding"), "wrap"),
    (("spec", "encoder"), []),
    (("spec", "encoder", 0), []),
    (("spec", "encoder", 0, 0), 0),
    (("spec", "encoder", 0, 0), True),
    (("spec", "alpha_range"), [0]),
    (("spec", "alpha_range"), [0, "1"]),
    (("weights_sha256",), "ab" * 31),
    (("weights_sha256",), "AB" * 32),
    (("encoder_id",), "ab" * 32),
    (("parts", "classifier"), {"file": "encoder.onnx", "inputs": [], "outputs": []}),
    (("parts", "encoder"), []),
    (("parts", "encoder", "file"), ABSENT),
    (("parts", "encoder", "inputs"), ABSENT),
    (("parts", "encoder", "inputs"), {}),
    (("parts", "encoder", "extra"), 1),
    (("parts", "encoder", "file"), "/etc/passwd"),
    (("parts", "encoder", "file"), "sub\\encoder.onnx"),
    ((*IMAGE, "dtype"), "float64"),
    ((*IMAGE, "dtype"), []),
    ((*IMAGE, "name"), 5),
    ((*IMAGE, "extra"), 1),
    ((*IMAGE, "shape"), "batch"),
    ((*IMAGE, "shape", 0), 0),
    ((*IMAGE, "shape", 0), -1),
    ((*IMAGE, "shape", 0), None),
    ((*IMAGE, "shape", 0), True),
    ((*IMAGE, "shape", 0), "depth"),
    ((*IMAGE, "shape", 2), "height/0"),
    ((*IMAGE, "shape", 2), "height/"),
    ((*IMAGE, "shape", 2), "1|height"),
    ((*IMAGE, "shape", 2), "1|1|height/8"),
    (("files", "../x"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", "/x"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", ".hidden"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", "weights.bin", "bytes"), -1),
    (("files", "weights.bin", "bytes"), True),
    (("files", "weights.bin", "bytes"), ABSENT),
    (("files", "weights.bin", "sha256"), "short"),
    (("files", "weights.bin", "url"), "http://example.org"),
    (("sizes", "multiple"), 0),
    (("sizes", "minimum"), "16"),
    (("sizes", "maximum"), 0),
    (("sizes", "extra"), 1),
    (("sizes", "exact"), [[16]]),
    (("sizes", "exact"), [[16, 0]]),
    (("sizes", "exact"), [[16, "16"]]),
    (("sizes", "exact"), 16),
    (("parts", "encoder", "functions"), {}),
    (("parts", "encoder", "functions"), [{"name": "a/b", "height": 16, "width": 16}]),
    (("parts", "encoder", "functions"), [{"name": "a", "height": 16}]),
    (("parts", "encoder", "functions"), [{"name": "a", "height": 0, "width": 16}]),
    (("options",), {"io": 1}),
    (("files", "a//b"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", "a/../b"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", "a/b/"), {"bytes": 1, "sha256": "ab" * 32}),
    (("files", "/".join("abcdefghi")), {"bytes": 1, "sha256": "ab" * 32}),
    (("rewrites",), "phase"),
    (("rewrites",), [1]),
    (("tools",), []),
    (("tools", "torch"), 2),
    (("parity", "reference"), 3),
    (("parity", "runtime"), None),
    (("parity", "cases"), "one"),
    (("parity", "cases"), ABSENT),
    (("parity", "max_abs"), -1e-3),
    (("parity", "max_abs"), "small"),
    (("parity", "max_abs"), None),
    (("parity", "features"), 0.1),
    (("parity", "features"), None),
    (("parity", "psnr"), "inf"),
    (("parity", "psnr"), True),
    (("parity", "extra"), 1),
    (("calibration",), "none"),
    (("int8",), "all"),
    (("int8",), [1]),
    (("int8",), ABSENT),
]

# What a schema can't say, or says of a number that JSON has no word for.
READER_REFUSES = [
    (("parts", "encoder", "file"), "elsewhere.onnx", "not among the files"),
    (("spec", "alpha_range"), [1, 0], "alpha_range must rise"),
    (("spec", "encoder"), [[4]], "sizes would not match"),
    (("spec", "eps"), float("nan"), "eps must be a positive number"),
    (("spec", "eps"), 10**400, "eps must be a positive number"),
    (("sizes", "maximum"), 8, "at least 16"),
    (("sizes", "exact"), [[20, 16]], "contradicts"),
    (("sizes", "exact"), [[8, 16]], "contradicts"),
    (("parts", "encoder", "functions"), [{"name": "f", "height": 16, "width": 16}], "exact sizes, one each"),
    (("parts", "encoder", "functions"), [{"name": "f", "height": 16, "width": 16}] * 2, "two functions of one size"),
    (("parity", "max_abs"), float("nan"), "max_abs must be"),
    (("parity", "psnr"), float("inf"), "psnr must be"),
]


NO_IMAGE = {"max_abs": None, "psnr": None}


@pytest.mark.parametrize("wrong", [{"features": -0.1}, {"features": None}, {"features": "small"}, {"psnr": 40.0}, {}])
def test_a_parity_without_an_image_wants_the_error_of_the_features_and_that_alone(wrong):
    parity = {key: value for key, value in json.loads(EMBEDDED)["parity"].items() if key not in NO_IMAGE} | NO_IMAGE
    sound = changed(("parity",), parity | {"features": 0.05})
    VALIDATOR.validate(json.loads(sound))
    assert Manifest.from_json(sound).parity.features == 0.05
    text = changed(("parity",), parity | ({"features": 0.05} | wrong if wrong else {}))
    assert not VALIDATOR.is_valid(json.loads(text))
    with pytest.raises(BundleError, match="parity: "):
        Manifest.from_json(text)


def test_the_worst_of_some_images_is_their_largest_difference_and_lowest_psnr():
    told = ("torch", "onnxruntime", ("a", "b"))
    assert Parity.worst(*told, images=[(0.1, 30.0), (0.2, 40.0)], features=[0.5]) == Parity(*told, 0.2, 30.0)
    assert Parity.worst(*told, images=[(0.0, float("inf"))], features=[]) == Parity(*told, 0.0, None)
    assert Parity.worst(*told, images=[], features=[0.01, 0.05]) == Parity(*told, None, None, 0.05)


@pytest.mark.parametrize(("path", "value"), BOTH_REFUSE, ids=str)
def test_the_schema_and_the_reader_both_refuse(path, value):
    text = changed(path, value)
    assert not VALIDATOR.is_valid(json.loads(text))
    with pytest.raises(BundleError):
        Manifest.from_json(text)


@pytest.mark.parametrize(("path", "value", "named"), READER_REFUSES)
def test_the_reader_refuses_what_a_schema_can_not_say(path, value, named):
    with pytest.raises(BundleError, match=named):
        Manifest.from_json(changed(path, value))


def test_sizes_may_be_left_to_their_defaults_by_both():
    text = changed(("sizes",), {})
    VALIDATOR.validate(json.loads(text))
    assert Manifest.from_json(text).sizes == Sizes(8, 16, None)


@pytest.mark.parametrize("text", ["", "{", "[" * 400_000, "null", "[]", "1", '"lite"'])
def test_a_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(BundleError, match="not a manifest"):
        Manifest.from_json(text)


def test_a_newer_schema_names_the_line_that_upgrades_before_any_field_is_read():
    with pytest.raises(BundleError, match=r"schema 2 is newer .* pip install --upgrade adain-edge"):
        Manifest.from_json('{"schema_version": 2, "whatever": []}')


def test_a_missing_field_is_named():
    with pytest.raises(BundleError, match=r"no field 'encoder_id'.*export the bundle again"):
        Manifest.from_json(changed(("encoder_id",), ABSENT))
