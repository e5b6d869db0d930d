"""Commands that are printed to be copied."""

from __future__ import annotations

import pytest

from adain_runtime import results


@pytest.mark.parametrize(
    ("system", "spelt"),
    [
        ("linux", r"adain-export onnx 'my models\vgg19.safetensors'"),
        ("win32", r'adain-export onnx "my models\vgg19.safetensors"'),
    ],
)
def test_a_command_is_spelt_for_the_systems_own_shell(monkeypatch, system, spelt):
    monkeypatch.setattr(results.sys, "platform", system)
    assert results.spell_command(["adain-export", "onnx", r"my models\vgg19.safetensors"]) == spelt
