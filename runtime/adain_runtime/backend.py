"""Backends: what runs a bundle. The protocols, and the registry that finds them by entry point."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from numpy.typing import NDArray

from adain_runtime.arguments import a_path, whole_number
from adain_runtime.bundle import Bundle
from adain_runtime.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

GROUP = "adain_runtime.backends"
Array = NDArray[Any]
_S = TypeVar("_S")


@dataclass(frozen=True)
class Probe:
    """Whether something works on this machine.

    Attributes:
        available: it does.
        detail: its version and devices, or why it doesn't.
        fix: the line that installs what is missing, where there is one.
    """

    available: bool
    detail: str
    fix: str | None = None

    def __bool__(self) -> bool:
        return self.available


@dataclass(frozen=True)
class Options:
    """How a session is opened. A backend refuses an option that it can't honour.

    Attributes:
        threads: CPU threads; None leaves the choice to the backend (its physical cores).
        provider: the device or execution provider, by the backend's own name for it; None is its usual one.
        allow_fallback: accept another provider where the one asked for doesn't come up.
        rebuild: build what a bundle needs for this machine, where that is not there or doesn't fit, into a cache.
        exact: keep all of float32 where the backend has a faster way that loses some (mnn: Winograd's large tiles).
    """

    threads: int | None = None
    provider: str | None = None
    allow_fallback: bool = False
    rebuild: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        most = 4 * (os.cpu_count() or 1)  # beyond, threads wait for each other and a run of seconds takes minutes
        if self.threads is not None and not 1 <= whole_number("threads", self.threads) <= most:
            raise InputError(f"threads must be from 1 to {most} on this machine, found {self.threads}")
        if self.provider is not None and not isinstance(self.provider, str):
            raise InputError(f"provider must be a name, found {self.provider!r}")

    def only(self, backend: str, *honoured: str) -> None:
        """Refuse what a backend can't honour.

        Raises:
            InputError: an option outside ``honoured`` differs from its default.
        """
        for option in fields(self):
            if option.name not in honoured and getattr(self, option.name) != option.default:
                known = ", ".join(honoured) or "none"
                raise InputError(f"backend {backend} has no option {option.name!r}; its options: {known}")


class Session(Protocol):
    """An open bundle. A protocol, so that another package's backend needs nothing of ours but the types."""

    @property
    def bundle(self) -> Bundle:
        """What was opened."""
        ...

    @property
    def device(self) -> str:
        """What really runs the graphs, such as ``CPUExecutionProvider``."""
        ...

    def run(self, part: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one part: the manifest's input names to arrays in, its output names to arrays out."""
        ...

    def close(self) -> None:
        """Free what the session holds. Closing twice is fine."""
        ...

    def __enter__(self: _S) -> _S: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Releasing(Protocol):
    """A session that can give memory back. A protocol apart, so that a session needn't."""

    def release(self, part: str) -> None:
        """Free what a part holds until it is next run."""
        ...


def release(session: Session, part: str) -> None:
    """Let a session that can free what a part holds, after the last of many runs of it."""
    if isinstance(session, Releasing):
        session.release(part)


@runtime_checkable
class Sharing(Protocol):
    """A session that several threads can have a share of. A protocol apart, so that a session needn't."""

    def shared(self, callers: int) -> Session | None:
        """Another session of the bundle, which ``callers`` threads may call at once, each with its share of the cores.

        None where there is nothing to share, such as one CPU thread, or a device that runs one thing at a time.
        """
        ...


class Backend(Protocol):
    """A way to run bundles. A protocol for the same reason: an entry point gives an object of this shape."""

    @property
    def name(self) -> str:
        """The name in ``--backend NAME``."""
        ...

    def probe(self) -> Probe:
        """Whether it works here. Never raises, and imports nothing heavy that it can avoid."""
        ...

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        """The bundle that this backend means by a folder, a file or an embedded name."""
        ...

    def open(self, bundle: Bundle, options: Options) -> Session:
        """Open a bundle.

        Raises:
            InputError: a bundle of another target, or an option that this backend doesn't have.
            UnavailableError: the library or the device is not here.
        """
        ...


@dataclass(frozen=True)
class _Broken:
    """Stands in for a backend whose entry point can't be loaded, so that it is listed with its reason."""

    name: str
    reason: str

    def probe(self) -> Probe:
        return Probe(False, self.reason)

    def find(self, model: str | os.PathLike[str]) -> Bundle:
        raise UnavailableError(f"backend {self.name} can't look for {model}: {self.reason}")

    def open(self, bundle: Bundle, options: Options) -> Session:
        raise UnavailableError(f"backend {self.name} can't open {bundle.path} with {options}: {self.reason}")


def _entries() -> EntryPoints:
    from importlib.metadata import entry_points  # a fifth of the package's import time, for those who only load styles

    return entry_points(group=GROUP)


def _load(entry: EntryPoint) -> Backend:
    try:
        return cast(Backend, entry.load())
    except Exception as error:  # noqa: BLE001 another package's module may raise anything; it is told, not hidden
        return _Broken(entry.name, f"{entry.value} can't be loaded ({type(error).__name__}: {error})")


def backend_names() -> list[str]:
    """Names of all installed backends, sorted."""
    return sorted(_entries().names)


def get_backend(name: str) -> Backend:
    """A backend by name, whether or not it works here.

    Raises:
        InputError: no such backend; the message lists them.
    """
    for entry in _entries().select(name=name):
        return _load(entry)
    raise InputError(f"no backend {name!r}; installed: {', '.join(backend_names())}")


def require(what: str, probe: Probe) -> None:
    """Go on only where something works.

    Raises:
        UnavailableError: it doesn't; the message has the reason and the line that mends it.
    """
    if not probe:
        raise UnavailableError(f"{what}: {probe.detail}" + (f"; {probe.fix}" if probe.fix else ""))


def require_backend(name: str) -> Backend:
    """A backend that works here.

    Raises:
        InputError: no such backend.
        UnavailableError: it doesn't work here.
    """
    backend = get_backend(name)
    require(f"backend {name}", backend.probe())
    return backend


def open_bundle(
    model: str | os.PathLike[str],
    *,
    backend: str = "onnx",
    threads: int | None = None,
    provider: str | None = None,
    allow_fallback: bool = False,
    rebuild: bool = False,
    exact: bool = False,
) -> Session:
    """Open a bundle folder or an embedded model for its parts, arrays in and out.

    Raises:
        InputError: no such model or backend, or an option that the backend doesn't have.
        UnavailableError: the backend or the provider doesn't work here.
    """
    a_path("a model", model)
    options = Options(threads=threads, provider=provider, allow_fallback=allow_fallback, rebuild=rebuild, exact=exact)
    chosen = require_backend(backend)
    return chosen.open(chosen.find(model), options)


def check_target(bundle: Bundle, backend: str, *targets: str) -> None:
    """Refuse a bundle that was exported for something else.

    Raises:
        InputError: the bundle's target is not among ``targets``.
    """
    if bundle.manifest.target not in targets:
        raise InputError(
            f"{bundle.path}: exported for {bundle.manifest.target}, and backend {backend} runs {', '.join(targets)}; "
            f"export it again or choose another backend (adain-run --list-backends)"
        )
