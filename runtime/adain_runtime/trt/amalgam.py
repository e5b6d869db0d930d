"""The builder as one file of its own, for build kits: made from these very modules, so that there is one source."""

from __future__ import annotations

import ast
from pathlib import Path

MODULES = ("options", "cudart", "library", "builder", "golden_fit", "build")
_HEADER = '''#!/usr/bin/env python3
"""{summary}

Part of adain-edge (MIT licence), put together from its modules {names}: it wants Python 3.10 and TensorRT, and nothing
else.
"""

from __future__ import annotations

'''


def standalone_builder() -> str:
    """The text of a kit's ``build.py``: the modules one after the other, without their imports of each other."""
    folder = Path(__file__).parent
    texts = [(folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES]
    summary = (ast.get_docstring(ast.parse(texts[-1])) or "").partition(" Standard library only")[0]
    names = ", ".join(MODULES)
    return _HEADER.format(summary=summary, names=names) + "\n\n".join(_body(text) for text in texts)


def _body(text: str) -> str:
    """A module without its docstring, its imports of this package, and what only a type checker reads."""
    lines: list[str | None] = list(text.splitlines())
    for place, node in enumerate(ast.parse(text).body):
        docstring = place == 0 and isinstance(node, ast.Expr)
        inside = isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("__future__", "adain_runtime"))
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if docstring or inside or for_types:
            lines[node.lineno - 1 : node.end_lineno] = [None] * ((node.end_lineno or 0) - node.lineno + 1)
    return "\n".join(line for line in lines if line is not None).strip() + "\n"
