"""House rules that a machine can check: which way imports point, what decisions may call, how long files may be."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "jilnode.kernel": {"jilnode.kernel", "jilnode.limits"},
    "jilnode.stores": {"jilnode.kernel", "jilnode.limits", "jilnode.stores"},
    "jilnode.events": {"jilnode.kernel", "jilnode.limits", "jilnode.events"},
    "jilnode.module": {"jilnode.kernel"},
    "jilnode.zone": {"jilnode.kernel"},
    "jilnode.http": {
        "jilnode.kernel",
        "jilnode.limits",
        "jilnode.events",
        "jilnode.http",
        "jilnode.module",
        "jilnode.zone",
    },
    "services": {"services", "jilnode.module", "jilnode.zone", "jilnode.kernel", "jilnode.limits"},
    "compliance": {"compliance", "jilnode.zone", "jilnode.kernel"},
}
THIRD_PARTY = {
    "jilnode.kernel": {"msgspec", "mypy_extensions", "cryptography", "sortedcontainers"},
    "services": {"msgspec"},
    "compliance": {"msgspec"},
}
"""Packages that are not the standard library, where only some are allowed."""
KNOWN_THIRD_PARTY = {
    *(
        "msgspec",
        "mypy_extensions",
        "cryptography",
        "sortedcontainers",
        "litestar",
        "uvicorn",
        "uvloop",
        "sqlalchemy",
        "aiosqlite",
    ),
    *("asyncpg", "redis", "aiokafka", "httpx", "jwt", "pytest", "hypothesis"),
}
BANNED_IN_DECISIONS = {"time", "random", "os", "socket", "datetime", "uuid", "secrets", "asyncio"}
"""What a handler must not reach for: it gets time, ids and facts from its context."""
LINES_MAX = 480
COMPILED: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["jilnode"]["compiled"]


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def package_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return max((item for item in ALLOWED if name == item or name.startswith(item + ".")), key=len, default="")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path.name}: relative import"
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    "path", sources("jilnode", "services", "compliance"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_one_way(path):
    package = package_of(path)
    if not package:
        return
    for name in imports(path):
        top = name.partition(".")[0]
        if top in ("jilnode", "services", "compliance"):
            assert any(name == item or name.startswith(item + ".") for item in ALLOWED[package]), (
                f"{package} imports {name}"
            )
        elif top in KNOWN_THIRD_PARTY and package in THIRD_PARTY:
            assert top in THIRD_PARTY[package], f"{package} imports {name}"


@pytest.mark.parametrize("path", sources("services"), ids=lambda path: str(path.relative_to(ROOT)))
def test_decisions_reach_for_nothing(path):
    assert not {name.partition(".")[0] for name in imports(path)} & BANNED_IN_DECISIONS


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_compiled_has_its_constants_in_place(name):
    """Another name is looked up in a dictionary each time it is used."""
    assigned = [node for node in ast.parse((ROOT / name).read_text()).body if isinstance(node, ast.Assign)]
    names = [ast.unparse(target) for node in assigned for target in node.targets]
    # One letter is a type's.
    assert not [name for name in names if name.isupper() and len(name) > 1]


def test_only_settings_reads_the_environment():
    readers = [
        str(path.relative_to(ROOT))
        for path in sources("jilnode", "services", "compliance")
        if re.search(r"os\.environ|getenv", path.read_text())
    ]
    assert set(readers) <= {"jilnode/settings.py", "jilnode/cli/fleet.py", "jilnode/cli/main.py"}, readers


def test_no_file_grows_without_end():
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources("jilnode", "services", "compliance", "tests")
        if (count := path.read_text().count("\n")) > LINES_MAX
    }
    assert not long


def test_every_folder_explains_itself():
    for folder in (
        "jilnode/kernel",
        "jilnode/stores",
        "jilnode/events",
        "jilnode/http",
        "jilnode/simulation",
        "services/wallet",
    ):
        assert (ROOT / folder / "README.md").exists(), folder


def test_links_in_pages_lead_somewhere():
    for page in [ROOT / "README.md", *ROOT.glob("jilnode/**/README.md"), *ROOT.glob("services/**/README.md")]:
        if not page.exists():
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
