"""Compiles the modules that pyproject.toml lists (``[tool.jilnode]``) with mypyc, from the very same source.

The directory then holds the whole of the packages: what is compiled, and plain files beside it. The source tree never
holds a compiled module, which would shadow an edited file. Whoever has the directory first on the path runs compiled.

Only this differs: nothing can put another method or function into a compiled module while it runs (tests that do are
marked ``patches``); an argument of the wrong type is a ``TypeError`` at once; compiled classes have no ``__dict__``;
and profilers and debuggers see no frames of it, tracebacks do.

A module with a msgspec Struct can't be listed: mypyc does not keep the annotations that it is made of. Nor can one with
a generator expression that is not used up at once, which mypyc makes a list of.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import shlex
import shutil
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

__all__ = ("main", "missing")

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jilnode", "services", "compliance")
STAMP = "made-of"
"""Holds the hash of everything that the directory was made of."""


def missing() -> str | None:
    """Why nothing can be compiled here, or None."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler}); on Debian: apt install gcc"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not headers.exists():
        return f"no {headers}; on Debian: apt install python3-dev"
    return None


def main() -> int:
    """The exit code: 1 where it can't be compiled."""
    directory = Path(sys.argv[1])
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(f"{directory.name}.lock")):
        made_of = _made_of()
        stamp = directory / STAMP
        if stamp.exists() and stamp.read_text() == made_of:
            return 0
        reason = missing()
        if reason is not None:
            print(f"scripts/compile: {reason}", file=sys.stderr)
            return 1
        modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["jilnode"]["compiled"]
        print(f"scripts/compile: compiling {len(modules)} modules, which takes a minute or more", file=sys.stderr)
        began = time.monotonic()
        fresh = directory.with_name(f"{directory.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, fresh / package, ignore=shutil.ignore_patterns("__pycache__"))
        if not _compiled(fresh, modules):
            return 1
        (fresh / STAMP).write_text(made_of)
        # Whole or not at all; a node that runs from the one before keeps the files that it has open.
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)
        print(f"scripts/compile: done in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made_of() -> str:
    """The sources, the list, and what compiles them."""
    found = hashlib.sha256(f"{sys.version} {version('mypy')} {os.environ.get('CC')}".encode())
    sources = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    for path in [ROOT / "pyproject.toml", Path(__file__), *sorted(sources)]:
        if "__pycache__" not in path.parts:
            found.update(b"%b %d " % (str(path.relative_to(ROOT)).encode(), path.stat().st_size))
            found.update(path.read_bytes())
    return found.hexdigest()


def _compiled(directory: Path, modules: list[str]) -> bool:
    """Compiles in place. What mypyc warns of changes what a program does, or how fast, so it is an error here."""
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(directory)
    options = [f"--config-file={ROOT / 'pyproject.toml'}", "--cache-dir=build/mypy"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            extensions = mypycify([*options, *modules], opt_level="2", debug_level="0", group_name="jilnode")
    except SystemExit:
        extensions = []
    if said.getvalue() or not extensions:
        print(f"scripts/compile: mypyc says\n{said.getvalue()}", file=sys.stderr)
        return False
    setup(name="jilnode", ext_modules=extensions, script_args=["--quiet", "build_ext", "--inplace"])
    shutil.rmtree("build")
    return True


if __name__ == "__main__":
    sys.exit(main())
