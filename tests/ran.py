"""What a command left behind, of those that the tests run as people type them."""

from __future__ import annotations

from typing import NamedTuple


class Ran(NamedTuple):
    """Exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def one_line(self) -> str:
        """The error, after seeing that it is one line, that it is the only thing said, and that it is no bug."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        assert "bug" not in self.err
        return self.err
