"""The summary for a CI job: short, in Markdown that means what it says."""

from __future__ import annotations

from dataclasses import replace

from adain_parity.markdown import markdown_summary, markdown_table
from runs import FAILED, a_case, a_run, every_verdict


def test_the_summary_has_the_verdict_the_groups_and_every_reason():
    text = markdown_summary(every_verdict())
    assert text.startswith("## 4 of 5 cases do not hold against PyTorch\n")
    assert "| onnx | fp32 | lite | 1 of 1 | 10% | 100.0 | 1.0e-05 |" in text
    assert "died of signal 11 (SIGSEGV) in the stylizer" in text
    assert "Blamed: encoder, from encoder.conv3&#95;2 on" in text
    assert "<summary>1 skipped</summary>" in text
    assert "no CUDA GPU here" in text
    assert "adain-parity run --matrix made-up" in text


def test_a_run_that_passes_has_no_list_of_what_did_not():
    text = markdown_summary(a_run(a_case()))
    assert "Not passed" not in text
    assert "skipped" not in text


def test_a_long_list_ends_where_the_page_goes_on():
    text = markdown_summary(a_run(*(replace(FAILED, id=f"case{i}", reason="x" * 5000) for i in range(600))))
    assert "and 580 more, in parity.html" in text
    assert len(text) < 20_000


def test_text_in_a_table_stays_text():
    cell = markdown_table(("a",), [("<b>|`x`| *y* @me #1\nnext",)])[2]
    assert cell == "| &#60;b&#62;&#124;&#96;x&#96;&#124; &#42;y&#42; &#64;me &#35;1 next |"
