"""Refresh the help texts in docs/commands from the program itself.

    python scripts/update_docs_help.py            rewrite the pages whose help text is old
    python scripts/update_docs_help.py --check    only list them; exit code 1 where there are any

A page holds the output of `sta-mpi COMMAND --help` (100 columns) between two marker lines.
"""

import re
import sys
from pathlib import Path

from click.testing import CliRunner

from sta_mpi.cli.main import cli

PAGES = Path(__file__).resolve().parent.parent / "docs" / "commands"
TERMINAL_COLUMNS = 100
"""click leaves a margin of 2."""
BEGIN = "<!-- help: written by scripts/update_docs_help.py -->"
END = "<!-- end of help -->"
BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def help_text(command: str) -> str:
    """Output of `sta-mpi COMMAND --help` on a terminal of 100 columns."""
    result = CliRunner().invoke(cli, [command, "--help"], prog_name="sta-mpi",
                                terminal_width=TERMINAL_COLUMNS - 2)
    if result.exit_code != 0:
        raise SystemExit(f"sta-mpi {command} --help: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.rstrip().splitlines())


def with_help(page: str, command: str) -> str:
    """The text of a page with its help block replaced by the present one."""
    block = f"{BEGIN}\n```text\n{help_text(command)}\n```\n{END}"
    if not BLOCK.search(page):
        raise SystemExit(f"docs/commands/{command}.md has no help block: add the lines\n"
                         f"{BEGIN}\n{END}")
    return BLOCK.sub(lambda _: block, page)


def stale_pages() -> dict[Path, str]:
    """Pages whose help text is old, with their new text."""
    stale = {}
    for path in sorted(PAGES.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = with_help(old, path.stem)
        if new != old:
            stale[path] = new
    return stale


def main(arguments: list[str]) -> int:
    """Rewrite or, with --check, list old pages."""
    is_check = arguments == ["--check"]
    if arguments and not is_check:
        print(__doc__)
        return 2
    stale = stale_pages()
    for path, text in stale.items():
        print(f"{'old' if is_check else 'rewritten'}: docs/commands/{path.name}")
        if not is_check:
            path.write_text(text, encoding="utf-8")
    return int(is_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
