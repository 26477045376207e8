"""What pyproject.toml cannot say: what of the source tree does not belong into a wheel."""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithoutTests(build_py):
    """Tests lie beside what they test, and run from a source tree."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """(package, module, file) of what is installed."""
        found = super().find_package_modules(package, package_dir)
        return [m for m in found if m[1] != "conftest" and not m[1].startswith("test_")]


def without_links_into_the_tree(text: str) -> str:
    """Pictures go; what a link leads to is named: a reader of the package's page has no tree."""
    text = re.sub(r"!\[[^\]]*\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:)([^)]*)\)", r"\1 (`\2`)", text)


setup(
    cmdclass={"build_py": WithoutTests},
    long_description=without_links_into_the_tree(Path("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
