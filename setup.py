"""What pyproject.toml cannot say: what of the source tree does not belong into a wheel."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TREE = ""
"""Where the files of this tree can be read, "https://.../blob/main/"; the owner names it when they
are published. Then the package's page has its links and URLs."""
PICTURE = r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*"
LINK = r"\[([^\]]*)\]\((?!https?:)([^)]*)\)"


class WithoutTests(build_py):
    """Tests lie beside what they test, and run from a source tree."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of what is installed."""
        found = super().find_package_modules(package, package_dir)
        return [m for m in found if m[1] != "conftest" and not m[1].startswith("test_")]


def package_page(readme: str, tree: str) -> str:
    """Links lead to `tree`; where there is none, what they lead to is named. Pictures go."""
    target = rf"[\1]({tree}\2)" if tree else r"\1 (`\2`)"
    return re.sub(LINK, target, re.sub(PICTURE, "", readme))


def urls(tree: str) -> dict[str, str]:
    """Of the package, by the names that package indexes know."""
    return {"Source": tree, "Changelog": tree + "CHANGELOG.md"} if tree else {}


if __name__ == "__main__":
    setup(
        cmdclass={"build_py": WithoutTests},
        long_description=package_page(Path("README.md").read_text(encoding="utf-8"), TREE),
        long_description_content_type="text/markdown",
        project_urls=urls(TREE),
    )
