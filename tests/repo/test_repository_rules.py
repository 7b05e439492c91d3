"""Rules of the repository that no reviewer should have to remember.

What is checked: layers, homes of libraries, sizes, dangerous calls, docstrings, paths and
hosts of one machine, pages and README lines of commands, a light start of the command line.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "sta_mpi"
MAX_LINES = 450

LIBRARY_HOMES = {
    "mpi4py": ("parallel",),
    "mrcfile": ("formats",),
    "starfile": ("formats",),
    "mdocfile": ("formats",),
    "imodmodel": ("formats",),
    "gemmi": ("formats", "simulate"),
    "h5py": ("formats", "parallel"),
    "pyfftw": ("signal",),
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "rich": ("report",),
    "click": ("cli",),
    "pydantic": ("cli", "jobs"),
    "cupy": ("kernels",),
}
ROOT_FOLDERS = {"sta_mpi", "scripts", "tests", "benchmarks", "slurm", "docs"}
ROOT_FILES = {"setup.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"}
SLOW_LIBRARIES = ("mpi4py", "numba", "numpy", "scipy", "pandas", "matplotlib", "h5py")
# Places of one machine and names of package registries; split, so that this file passes.
FOREIGN_TEXT = re.compile("|".join([
    r"(?<![\w.])/" + r"work/", r"(?<![\w.])/" + r"tmp/", r"/" + r"home/\w", "/" + r"root/",
    r"pypi\." + "org", r"pythonhosted\." + "org", "anaconda" + r"\.org", "conda-" + "forge"]))


def tracked_files() -> list[Path]:
    """Files under version control, or all but ignored folders where there is no git."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True,
                                text=True, check=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
        return [path for path in paths if path.is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file()
            and not {".git", ".venv", "__pycache__"} & set(path.relative_to(ROOT).parts)]


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py")
                  if "__pycache__" not in path.parts)


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imported_roots(path: Path) -> list[tuple[str, int]]:
    """(top-level package, line) of every import, also those inside functions."""
    found = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append((node.module.split(".")[0], node.lineno))
    return found


def command_names() -> list[str]:
    """Commands as they are typed."""
    folder = PACKAGE / "cli" / "commands"
    names = sorted(path.stem.replace("_", "-") for path in folder.glob("*.py")
                   if path.stem != "__init__")
    if not names:
        pytest.skip("no command modules in sta_mpi/cli/commands yet")
    return names


def test_imports_go_downward_only():
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        pytest.skip("lint-imports not found: pip install import-linter")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout


def test_every_package_has_a_place_in_the_layers():
    contract = (ROOT / ".importlinter").read_text()
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    missing = {name for name in packages if f"sta_mpi.{name}" not in contract}
    assert not missing


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_library_is_imported_in_its_home_alone(library):
    strangers = [
        f"{name_of(path)}:{line}"
        for path in python_files(PACKAGE)
        if path.relative_to(PACKAGE).parts[0] not in LIBRARY_HOMES[library]
        for name, line in imported_roots(path) if name == library]
    assert strangers == []


@pytest.mark.parametrize("folder", ["sta_mpi", "tests", "benchmarks"])
def test_no_module_is_too_long_to_read(folder):
    long = {name_of(path): n for path in python_files(ROOT / folder)
            if (n := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES}
    assert long == {}, f"split by subject: more than {MAX_LINES} lines"


def test_foreign_files_are_parsed_and_never_evaluated():
    """No eval, exec, pickle or shell on anything; numpy files without pickles."""
    found = []
    for path in python_files(PACKAGE):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and _is_dangerous(node):
                found.append(f"{name_of(path)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert found == []


def _is_dangerous(call: ast.Call) -> bool:
    function = ast.unparse(call.func)
    keywords = {item.arg: ast.unparse(item.value) for item in call.keywords}
    return (
        function in {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load"}
        or re.fullmatch(r"(c?[Pp]ickle|dill|shelve|joblib|marshal)\.(loads?|open|Unpickler)",
                        function) is not None
        or keywords.get("allow_pickle") == "True" or keywords.get("shell") == "True")


def test_the_check_for_dangerous_calls_sees_them():
    for text in ("eval(x)", "pickle.load(f)", "np.load(f, allow_pickle=True)", "exec(c)",
                 "subprocess.run(c, shell=True)"):
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        assert _is_dangerous(call), text


def test_every_module_class_and_public_function_has_a_docstring():
    """A method may leave it to the interface that it implements."""
    trees = {path: parse(path) for path in python_files(PACKAGE)}
    explained = {method.name for tree in trees.values() for method in _public_methods(tree)
                 if ast.get_docstring(method)}
    missing = [name_of(path) for path, tree in trees.items()
               if tree.body and not ast.get_docstring(tree)]
    for path, tree in trees.items():
        missing += [f"{name_of(path)}:{node.lineno} {node.name}" for node in tree.body
                    if isinstance(node, ast.FunctionDef | ast.ClassDef)
                    and not node.name.startswith("_") and not ast.get_docstring(node)]
        missing += [f"{name_of(path)}:{node.lineno} {node.name}" for node in _public_methods(tree)
                    if not ast.get_docstring(node) and node.name not in explained]
    assert missing == []


def _public_methods(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Public methods of the public classes of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (item for item in node.body if isinstance(item, ast.FunctionDef)
                        and not item.name.startswith("_") and not _is_setter(item))


def _is_setter(function: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Attribute) and d.attr in {"setter", "deleter"}
               for d in function.decorator_list)


def test_no_tracked_file_names_a_place_of_one_machine_or_a_registry():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}:{number}: {line.strip()[:90]}"
                  for number, line in enumerate(text.splitlines(), 1) if FOREIGN_TEXT.search(line)]
    assert found == []


def test_root_of_the_repository_holds_only_what_the_house_has():
    names = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    strangers = {name for name in names - ROOT_FOLDERS - ROOT_FILES if not name.startswith(".")}
    assert strangers == set()


def test_no_large_or_binary_data_is_tracked():
    large = {name_of(path): path.stat().st_size for path in tracked_files()
             if path.stat().st_size > 400_000}
    assert large == {}


def test_test_files_have_unique_names():
    names = [path.name for path in python_files(ROOT / "tests")
             if path.name not in {"__init__.py", "conftest.py"}]
    assert sorted(names) == sorted(set(names))


def test_tests_do_not_pass_by_returning_early():
    """A `return` before anything was checked hides that; `pytest.skip` says it."""
    found = []
    for path in python_files(ROOT / "tests"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found += [f"{name_of(path)}:{line}" for line in _idle_returns(node.body)]
    assert found == []


def _idle_returns(block: list[ast.stmt]) -> Iterator[int]:
    """Lines of bare returns that are the first statement of their block, nested ones too.

    Those in an `except` are left alone: there, the error itself is what was checked.
    """
    for position, statement in enumerate(block):
        if isinstance(statement, ast.Return) and statement.value is None and position == 0:
            yield statement.lineno
        if isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
            for name in ("body", "orelse", "finalbody"):
                yield from _idle_returns(getattr(statement, name, []))


def test_no_unfinished_work_is_left():
    words = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    found = [f"{name_of(path)}:{number}"
             for path in tracked_files() if path.suffix in {".py", ".sh", ".md", ".sbatch"}
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             if words.search(line)]
    assert found == []


def test_shell_scripts_are_strict_and_executable():
    scripts = [p for p in tracked_files() if p.suffix == ".sh" or p == ROOT / ".ci" / "run"]
    assert scripts
    for path in scripts:
        text = path.read_text()
        assert text.startswith("#!"), name_of(path)
        assert os.access(path, os.X_OK), name_of(path)
        assert "set -euo pipefail" in text, name_of(path)
        subprocess.run(["bash", "-n", path], check=True)


def test_every_command_has_a_page():
    missing = [name for name in command_names()
               if not (ROOT / "docs" / "commands" / f"{name}.md").is_file()]
    assert missing == []


def test_every_page_belongs_to_a_command():
    known = {*command_names(), "README", "index"}
    strangers = [path.name for path in (ROOT / "docs" / "commands").glob("*.md")
                 if path.stem not in known]
    assert strangers == []


def test_every_command_stands_in_a_table_of_the_readme():
    readme = ROOT / "README.md"
    assert readme.is_file()
    rows = [line for line in readme.read_text(encoding="utf-8").splitlines()
            if line.startswith("|")]
    missing = [name for name in command_names() if not any(f"`{name}`" in row for row in rows)]
    assert missing == []


def run_help(*arguments: str) -> tuple[str, set[str]]:
    """Run `sta-mpi ARGUMENTS`; its output and the modules it imported."""
    code = (
        "import json, sys\n"
        "sys.argv[0] = 'sta-mpi'\n"
        "from sta_mpi.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    print('\\x1e' + json.dumps([stop.code, sorted(sys.modules)]))\n")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True,
                          text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    text, _, tail = done.stdout.partition("\x1e")
    assert tail, done.stderr
    exit_code, modules = json.loads(tail)
    assert exit_code in (0, None), done.stderr
    return text, {name.partition(".")[0] for name in modules}


def test_help_starts_without_mpi_and_numerical_libraries():
    text, modules = run_help("--help")
    assert "Usage:" in text
    assert sorted(modules & set(SLOW_LIBRARIES)) == []


@pytest.mark.parametrize("command", [
    path.stem.replace("_", "-") for path in sorted((PACKAGE / "cli" / "commands").glob("*.py"))
    if path.stem != "__init__"])
def test_help_of_a_command_is_light_and_has_an_example(command):
    text, modules = run_help(command, "--help")
    assert sorted(modules & set(SLOW_LIBRARIES)) == []
    assert "Example" in text
    assert f"sta-mpi {command}" in text
